package devidentity

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// session is a browser in which somebody signed in.
type session struct {
	user     string
	authTime time.Time
}

// sessionCookie is named after the workspace, because browsers share the
// cookies of a host among all its ports.
func (p *Provider) sessionCookie() string {
	sum := sha256.Sum256([]byte(p.issuer() + p.audience))
	return "mesh_session_" + hex.EncodeToString(sum[:6])
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
	req, ok := p.pending.take(r.PostForm.Get("request"))
	if !ok {
		p.errorPage(w, r, refuse("invalid_request", "this sign-in page was open for too long, or was used already: go back to the application and sign in again"))
		return
	}
	p.finish(w, r, req, p.startSession(w, r, user.Name))
}

func (p *Provider) startSession(w http.ResponseWriter, r *http.Request, user string) *session {
	p.endSessionOf(w, r)
	s := &session{user: user, authTime: time.Now()}
	p.setCookie(w, p.sessions.put(s), int(sessionTTL.Seconds()))
	p.log.InfoContext(r.Context(), "identity signed a user in", "user", user)
	return s
}

// endSessionOf forgets the browser's session, if it has one.
func (p *Provider) endSessionOf(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(p.sessionCookie()); err == nil {
		p.sessions.remove(cookie.Value)
		p.setCookie(w, "", -1)
	}
}

func (p *Provider) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: p.sessionCookie(), Value: value, Path: p.path + "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
