package devidentity

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authRequest is an authorization request that was found valid.
type authRequest struct {
	client    *Client
	redirect  string
	state     string
	nonce     string
	challenge string
	scopes    []string
	prompts   []string
	hint      string
	user      string        // the only one whom the answer may be about; "": anybody
	maxAge    time.Duration // negative: any age
	page      signInForm    // the page that asks who the user is, once it is shown
}

// maxParameter bounds state and nonce, which are kept while a page is open.
const maxParameter = 4 << 10

// authorize is the authorization endpoint (RFC 6749 section 3.1). What is
// wrong before the redirect URI is known to be the client's ends on a page:
// only after that may a browser be sent there.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	form, err := authorizeForm(r)
	if err != nil {
		p.errorPage(w, r, err)
		return
	}
	req, err := p.parseClient(form)
	if err != nil {
		p.errorPage(w, r, err)
		return
	}
	err = req.parse(form)
	if err == nil {
		err = p.parseHint(req, form)
	}
	if err != nil {
		p.sendBack(w, r, req, errorParameters(err))
		return
	}
	s, signedIn := p.sessionOf(r)
	switch {
	case signedIn && req.accepts(s):
		p.finish(w, r, req, s)
	case slices.Contains(req.prompts, "none"):
		p.sendBack(w, r, req, errorParameters(refuse("login_required", "the user has to sign in")))
	default:
		p.signInPage(w, r, req)
	}
}

// authorizeForm reads the parameters from the query, or from the body of a
// POST.
func authorizeForm(r *http.Request) (url.Values, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil, refuse("invalid_request", "the method is not GET or POST")
	}
	if err := r.ParseForm(); err != nil {
		return nil, refuse("invalid_request", "the request cannot be parsed")
	}
	if r.Method == http.MethodPost {
		return given(r.PostForm), nil
	}
	return given(r.Form), nil
}

func (p *Provider) parseClient(form url.Values) (*authRequest, error) {
	id, err := once(form, "client_id")
	if err != nil {
		return nil, err
	}
	redirect, err := once(form, "redirect_uri")
	if err != nil {
		return nil, err
	}
	client, err := p.directory.Load().client(id)
	if err != nil {
		return nil, refuse("invalid_request", "%v", err)
	}
	if !client.redirectAllowed(redirect) {
		return nil, refuse("invalid_request", "the redirect_uri %q is not one of client %q; it has: %s",
			redirect, id, strings.Join(client.RedirectURIs, ", "))
	}
	return &authRequest{client: client, redirect: redirect, maxAge: -1, state: form.Get("state")}, nil
}

func (a *authRequest) parse(form url.Values) error {
	if err := noDuplicates(form); err != nil {
		return err
	}
	a.nonce, a.challenge, a.hint = form.Get("nonce"), form.Get("code_challenge"), form.Get("login_hint")
	a.prompts = strings.Fields(form.Get("prompt"))
	if err := a.parseMaxAge(form.Get("max_age")); err != nil {
		return err
	}
	a.scopes = a.client.allowed(strings.Fields(form.Get("scope")))
	switch {
	case form.Has("request"):
		return refuse("request_not_supported", "request objects are not supported")
	case form.Has("request_uri"):
		return refuse("request_uri_not_supported", "request objects are not supported")
	case form.Get("response_type") == "":
		return refuse("invalid_request", "there is no response_type")
	case form.Get("response_type") != "code":
		return refuse("unsupported_response_type", "only the response_type code is supported")
	case form.Get("response_mode") != "" && form.Get("response_mode") != "query":
		return refuse("invalid_request", "only the response_mode query is supported")
	case len(a.state) > maxParameter || len(a.nonce) > maxParameter:
		return refuse("invalid_request", "state or nonce is longer than %d bytes", maxParameter)
	case len(a.prompts) > 1 && slices.Contains(a.prompts, "none"):
		return refuse("invalid_request", "the prompt none excludes others")
	}
	return checkChallenge(a.challenge, form.Get("code_challenge_method"))
}

// parseHint reads the ID token that says whom the client takes the user for
// (OpenID Connect Core section 3.1.2.1).
func (p *Provider) parseHint(req *authRequest, form url.Values) error {
	token := form.Get("id_token_hint")
	if token == "" {
		return nil
	}
	hint, err := p.readHint(token)
	if err != nil {
		return refuse("invalid_request", "the id_token_hint is not an ID token of this provider")
	}
	req.user, req.hint = hint.user, cmp.Or(req.hint, hint.user)
	return nil
}

func (a *authRequest) parseMaxAge(text string) error {
	if text == "" {
		return nil
	}
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return refuse("invalid_request", "max_age is not a number of seconds")
	}
	a.maxAge = time.Duration(seconds) * time.Second
	return nil
}

// checkChallenge wants PKCE with S256 from everybody (RFC 9700 section
// 2.1.1). A missing method would mean plain.
func checkChallenge(challenge, method string) error {
	if challenge == "" {
		return refuse("invalid_request", "PKCE is required: there is no code_challenge")
	}
	if method != "S256" {
		return refuse("invalid_request", "PKCE needs code_challenge_method=S256")
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(challenge)
	if err != nil || len(sum) != 32 {
		return refuse("invalid_request", "the code_challenge is not the base64url of a SHA-256 sum")
	}
	return nil
}

// allowed keeps the scopes that a client may have: the standard ones and its
// own. Others are passed over, as RFC 6749 section 3.3 permits; the answer
// says what was granted.
func (c *Client) allowed(scopes []string) []string {
	var granted []string
	for _, scope := range scopes {
		standard := slices.Contains([]string{"openid", "profile", "email", "offline_access"}, scope)
		if (standard || slices.Contains(c.Scopes, scope)) && !slices.Contains(granted, scope) {
			granted = append(granted, scope)
		}
	}
	return granted
}

// accepts says whether a session makes the sign-in page unnecessary.
func (a *authRequest) accepts(s *session) bool {
	for _, prompt := range a.prompts {
		if prompt != "none" {
			return false
		}
	}
	if a.user != "" && a.user != s.user {
		return false
	}
	return a.maxAge < 0 || time.Since(s.authTime) <= a.maxAge
}

// finish sends the browser back with the answer, or asks again when the session's
// user was removed since.
func (p *Provider) finish(w http.ResponseWriter, r *http.Request, req *authRequest, s *session) {
	user, err := p.directory.Load().user(s.user)
	if err != nil {
		p.signInPage(w, r, req)
		return
	}
	p.sendBack(w, r, req, p.answerTo(req, user, s))
}

// answerTo gives the client its code, or tells it that somebody else signed in
// than the one whom it asked for (OpenID Connect Core section 3.1.2.2).
func (p *Provider) answerTo(req *authRequest, user *User, s *session) url.Values {
	if req.user != "" && req.user != user.Name {
		return errorParameters(refuse("login_required", "%s signed in, and the id_token_hint is of %s", user.Name, req.user))
	}
	g := &grant{client: req.client.ID, redirect: req.redirect, challenge: req.challenge, expires: time.Now().Add(codeTTL)}
	g.subject = subject{clientID: req.client.ID, scopes: req.scopes, authTime: s.authTime, nonce: req.nonce, grant: newID()}
	g.subject.setUser(user)
	return url.Values{"code": {p.codes.put(g)}}
}

func errorParameters(err error) url.Values {
	e := asOAuth(err).told()
	return url.Values{"error": {e.Code}, "error_description": {e.Description}}
}

// sendBack redirects to the client, and says who does so (RFC 9207): a client
// of several providers can tell their answers apart.
func (p *Provider) sendBack(w http.ResponseWriter, r *http.Request, req *authRequest, answer url.Values) {
	answer.Set("iss", p.issuer())
	if req.state != "" {
		answer.Set("state", req.state)
	}
	http.Redirect(w, r, withQuery(req.redirect, answer), http.StatusSeeOther)
}
