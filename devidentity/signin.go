package devidentity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// session is a browser in which somebody signed in.
type session struct {
	user     string
	authTime time.Time
}

func (p *Provider) sessionCookie() string { return p.cookieName("mesh_session_") }

// cookieName is one of the workspace, because browsers share the cookies of a host
// among all its ports.
func (p *Provider) cookieName(kind string) string {
	sum := sha256.Sum256([]byte(p.issuer() + p.audience))
	return kind + hex.EncodeToString(sum[:6])
}

func (p *Provider) sessionOf(r *http.Request) (*session, bool) {
	cookie, err := r.Cookie(p.sessionCookie())
	if err != nil {
		return nil, false
	}
	s, ok := p.sessions.get(cookie.Value)
	if !ok || p.directory.Load().users[s.user] == nil { // removed since
		return nil, false
	}
	return s, true
}

// signInForm is what became of the form of a sign-in page.
type signInForm struct {
	browser string // the one that the page was shown in

	mu      sync.Mutex
	session *session // nil: nobody signed in yet
	cookie  string   // the session's
	answer  url.Values
}

// doubleClick is how long a form that is sent again is taken for a second click.
const doubleClick = 10 * time.Second

var errUsedUp = refuse("invalid_request", "this sign-in page was open for too long, or was used already: go back to the application and sign in again")

// signIn takes the form of the sign-in page. The form carries the ID of a
// request that only this page knows, and cross-site posts do not get here.
func (p *Provider) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.errorPage(w, r, refuse("invalid_request", "the form cannot be parsed"))
		return
	}
	user, err := p.directory.Load().user(r.PostForm.Get("user"))
	if err != nil {
		p.errorPage(w, r, refuse("invalid_request", "%v", err))
		return
	}
	req, ok := p.pending.get(r.PostForm.Get("request"))
	if !ok {
		p.errorPage(w, r, errUsedUp)
		return
	}
	answer, err := p.answerOnce(w, r, req, user)
	if err != nil {
		p.errorPage(w, r, err)
		return
	}
	p.sendBack(w, r, req, answer)
}

// answerOnce signs a user in and makes the answer to the client. A browser follows
// the second of two clicks, so that one gets the same answer again; with another
// code when the client has redeemed the first while the user was clicking, since a
// code that comes twice is taken for stolen.
func (p *Provider) answerOnce(w http.ResponseWriter, r *http.Request, req *authRequest, user *User) (url.Values, error) {
	form := &req.page
	form.mu.Lock()
	defer form.mu.Unlock()
	switch {
	case form.session == nil:
		form.session, form.cookie = p.startSession(w, r, user.Name)
	case !p.isSecondClick(form, r, user):
		return nil, errUsedUp
	default: // the browser may have dropped the first answer with its cookie
		p.setCookie(w, p.sessionCookie(), form.cookie, sessionTTL)
	}
	if form.answer == nil || p.redeemed(form.answer.Get("code")) {
		form.answer = p.answerTo(req, user, form.session)
	}
	return maps.Clone(form.answer), nil
}

// isSecondClick says whether a form that was sent already comes from the same
// browser and for the same user, who is still signed in, and soon enough.
func (p *Provider) isSecondClick(form *signInForm, r *http.Request, user *User) bool {
	_, signedIn := p.sessions.get(form.cookie)
	return signedIn && form.session.user == user.Name && time.Since(form.session.authTime) <= doubleClick && p.isBrowser(r, form.browser)
}

// browserCookie tells browsers apart while they show sign-in pages.
func (p *Provider) browserCookie() string { return p.cookieName("mesh_browser_") }

// browserOf returns what tells the browser from others, and has it kept there.
func (p *Provider) browserOf(w http.ResponseWriter, r *http.Request) string {
	id := newID()
	if cookie, err := r.Cookie(p.browserCookie()); err == nil && len(cookie.Value) == len(id) {
		id = cookie.Value // its other pages stay good
	}
	p.setCookie(w, p.browserCookie(), id, signInTTL)
	return id
}

func (p *Provider) isBrowser(r *http.Request, id string) bool {
	cookie, err := r.Cookie(p.browserCookie())
	return err == nil && subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(id)) == 1
}

func (p *Provider) startSession(w http.ResponseWriter, r *http.Request, user string) (s *session, cookie string) {
	p.endSessionOf(w, r)
	s = &session{user: user, authTime: time.Now()}
	cookie = p.sessions.put(s)
	p.setCookie(w, p.sessionCookie(), cookie, sessionTTL)
	p.log.InfoContext(r.Context(), "identity signed a user in", "user", user)
	return s, cookie
}

// endSessionOf forgets the browser's session, if it has one.
func (p *Provider) endSessionOf(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(p.sessionCookie()); err == nil {
		p.sessions.remove(cookie.Value)
		p.setCookie(w, p.sessionCookie(), "", -time.Second)
	}
}

// setCookie keeps a value in the browser; a negative ttl removes it.
func (p *Provider) setCookie(w http.ResponseWriter, name, value string, ttl time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: p.path + "/", MaxAge: int(ttl.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
