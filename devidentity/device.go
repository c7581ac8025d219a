package devidentity

import (
	"crypto/rand"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	deviceTTL  = 10 * time.Minute
	deviceWait = 5 * time.Second // between two questions of a device
)

// device is a device authorization (RFC 8628) that waits for its user.
type device struct {
	client *Client
	scopes []string

	mu     sync.Mutex
	asked  time.Time // the device's last question
	user   string    // who agreed
	denied bool
	done   bool // the tokens were handed out
}

type deviceResponse struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	Complete        string `json:"verification_uri_complete"`
	ExpiresIn       int    `json:"expires_in"`
	Interval        int    `json:"interval"`
}

// deviceAuthorization starts the device grant (RFC 8628 section 3.1).
func (p *Provider) deviceAuthorization(w http.ResponseWriter, r *http.Request) {
	form, err := apiForm(r)
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	client, err := p.authenticate(r, form)
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	d := &device{client: client, scopes: client.allowed(strings.Fields(form.Get("scope")))}
	code := newUserCode()
	p.userCode.set(plainCode(code), d)
	page := p.endpoint("/device")
	writeJSON(w, http.StatusOK, deviceResponse{
		DeviceCode: p.devices.put(d), UserCode: code, VerificationURI: page,
		Complete:  page + "?user_code=" + url.QueryEscape(code),
		ExpiresIn: int(deviceTTL.Seconds()), Interval: int(deviceWait.Seconds()),
	})
}

// newUserCode returns eight letters that are easy to type and spell nothing:
// consonants only, as RFC 8628 section 6.1 proposes.
func newUserCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	var b strings.Builder
	for i := range 8 {
		if i == 4 {
			b.WriteByte('-')
		}
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(letters)))) // crypto/rand never fails
		b.WriteByte(letters[n.Int64()])
	}
	return b.String()
}

// plainCode forgives how a code was typed.
func plainCode(code string) string {
	letter := func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}
	return strings.Map(letter, strings.ToUpper(code))
}

// redeemDevice answers a device that asks whether its user is ready (RFC 8628
// section 3.5).
func (p *Provider) redeemDevice(client *Client, form url.Values) (*tokenResponse, error) {
	code, err := required(form, "device_code")
	if err != nil {
		return nil, err
	}
	d, ok := p.devices.get(code)
	if !ok {
		return nil, refuse("expired_token", "the device_code is not known or has expired")
	}
	if d.client.ID != client.ID {
		return nil, refuse("invalid_grant", "the device_code is not this client's")
	}
	if err := d.poll(); err != nil {
		return nil, err
	}
	s, err := p.asNow(client, subject{name: d.user, clientID: client.ID, scopes: d.scopes, authTime: time.Now(), grant: newID()})
	if err != nil {
		return nil, err
	}
	refreshToken, err := p.firstRefreshToken(&s)
	if err != nil {
		return nil, err
	}
	return p.respond(&s, refreshToken)
}

// poll returns nil once, when the user has agreed.
func (d *device) poll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	tooSoon := time.Since(d.asked) < deviceWait
	d.asked = time.Now()
	switch {
	case d.done:
		return refuse("invalid_grant", "the device_code was used already")
	case d.denied:
		return refuse("access_denied", "the user said no")
	case d.user == "" && tooSoon:
		return refuse("slow_down", "ask every %d seconds", int(deviceWait.Seconds()))
	case d.user == "":
		return refuse("authorization_pending", "the user has not answered yet")
	}
	d.done = true
	return nil
}

// decide records the user's answer; the first one counts.
func (d *device) decide(user string, denied bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.user == "" && !d.denied {
		d.user, d.denied = user, denied
	}
}

func (d *device) decided() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.user != "" || d.denied
}

// devicePage is where the user types the code, and then says who they are.
// The device's own application is named, so that a code that somebody else
// sent is noticed.
func (p *Provider) devicePage(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.errorPage(w, r, refuse("invalid_request", "the form cannot be parsed"))
		return
	}
	code := r.Form.Get("user_code")
	d, known := p.userCode.get(plainCode(code))
	if known && d.decided() { // a second click
		p.deviceDone(w)
		return
	}
	user, denied := r.PostForm.Get("user"), r.PostForm.Get("deny") != ""
	if !known || (user == "" && !denied) {
		p.askDevice(w, d, code)
		return
	}
	if _, err := p.directory.Load().user(user); err != nil && !denied {
		p.errorPage(w, r, refuse("invalid_request", "%v", err))
		return
	}
	d.decide(user, denied)
	p.deviceDone(w)
}

func (p *Provider) deviceDone(w http.ResponseWriter) {
	p.messagePage(w, http.StatusOK, "Done", "You can close this page and go back to your device.")
}
