package devidentity

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a provider on a real listener, and a browser.
type world struct {
	*Provider
	t       *testing.T
	server  *httptest.Server
	config  Config
	browser *http.Client // keeps cookies, follows no redirect
}

func testConfig(dir, issuer string) Config {
	return Config{
		Dir: dir, Issuer: issuer, Audience: "shop",
		Users: []User{
			{Name: "alice", Email: "alice@example.test", Roles: []string{"customer"}},
			{Name: "admin", Roles: []string{"admin"}},
		},
		Clients: []Client{
			{ID: "web", Secret: "web-secret", RedirectURIs: []string{"https://web.example/cb", "http://127.0.0.1:3000/cb?x=1"}, Scopes: []string{"orders"}},
			{ID: "spa", RedirectURIs: []string{"http://127.0.0.1/cb"}},
			{ID: "cart", Secret: "s3 cr:et%", Roles: []string{"service"}, Scopes: []string{"profile.read", "profile.write"}},
		},
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, server: httptest.NewUnstartedServer(nil)}
	w.config = testConfig(t.TempDir(), "http://"+w.server.Listener.Addr().String())
	w.restart()
	w.server.Start()
	jar, _ := cookiejar.New(nil)
	transport := &http.Transport{}
	w.browser = &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		w.server.Close()
	})
	return w
}

// restart makes the provider anew from what is on disk.
func (w *world) restart() {
	w.t.Helper()
	p, err := New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Provider, w.server.Config.Handler = p, p.Handler()
}

func (w *world) oauth(clientID string, scopes ...string) *oauth2.Config {
	c := w.directory.Load().clients[clientID]
	config := &oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, Scopes: scopes, Endpoint: oauth2.Endpoint{
		AuthURL: w.endpoint("/authorize"), TokenURL: w.endpoint("/token"), DeviceAuthURL: w.endpoint("/device_authorization"),
	}}
	if len(c.RedirectURIs) > 0 {
		config.RedirectURL = c.RedirectURIs[0]
	}
	return config
}

func (w *world) get(address string) (*http.Response, string) {
	w.t.Helper()
	r, err := w.browser.Get(address)
	if err != nil {
		w.t.Fatal(err)
	}
	return r, readAll(w.t, r)
}

func readAll(t *testing.T, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// signInAs opens the page at address, chooses a user, and returns where the
// browser was sent.
func (w *world) signInAs(user, address string) url.Values {
	w.t.Helper()
	r, page := w.get(address)
	found := requestField.FindStringSubmatch(page)
	if r.StatusCode != http.StatusOK || found == nil {
		w.t.Fatalf("no sign-in page: %s %s", r.Status, page)
	}
	r, err := w.browser.PostForm(w.endpoint("/signin"), url.Values{"request": {found[1]}, "user": {user}})
	if err != nil {
		w.t.Fatal(err)
	}
	readAll(w.t, r)
	return w.sentTo(r)
}

func (w *world) sentTo(r *http.Response) url.Values {
	w.t.Helper()
	if r.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("no redirect: %s", r.Status)
	}
	target, err := url.Parse(r.Header.Get("Location"))
	if err != nil {
		w.t.Fatal(err)
	}
	return target.Query()
}

// form posts to one of the endpoints for programs.
func (w *world) form(path string, values url.Values, edit ...func(*http.Request)) (int, map[string]any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.endpoint(path), strings.NewReader(values.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, e := range edit {
		e(r)
	}
	answer, err := w.browser.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	body := map[string]any{}
	if text := readAll(w.t, answer); text != "" {
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			w.t.Fatalf("%s: not JSON: %s", path, text)
		}
	}
	return answer.StatusCode, body
}

// tokens signs alice in at a client and returns what it gets.
func (w *world) tokens(clientID string, scopes ...string) *oauth2.Token {
	w.t.Helper()
	config, verifier := w.oauth(clientID, scopes...), oauth2.GenerateVerifier()
	answer := w.signInAs("alice", config.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "login")))
	token, err := config.Exchange(w.t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}
