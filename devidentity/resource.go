package devidentity

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// userinfo tells a relying party about the user whose access token it shows
// (OpenID Connect Core section 5.3).
func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	token := bearer(r)
	if token == "" { // who shows none is told the scheme, and of no error (RFC 6750 section 3.1)
		w.Header().Set("WWW-Authenticate", `Bearer realm="mesh"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	claims, err := p.verifier.Verify(r.Context(), token)
	if err != nil {
		challenge(w, http.StatusUnauthorized, "invalid_token", err.Error())
		return
	}
	user, known := p.directory.Load().users[claims.Subject]
	if !known || !claims.person || !slices.Contains(claims.Scopes, "openid") {
		challenge(w, http.StatusForbidden, "insufficient_scope", "the token was not granted openid by a user")
		return
	}
	s := subject{scopes: claims.Scopes}
	s.setUser(user)
	info, err := together(struct {
		Subject string `json:"sub"`
		profile
	}{s.name, s.profile()}, s.claims)
	if err != nil { // claims that are no JSON are refused before
		p.answerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, info)
}

// bearer reads the token of a request's Authorization header (RFC 6750).
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// challenge answers as RFC 6750 section 3 wants it. The descriptions are this
// package's own words.
func challenge(w http.ResponseWriter, status int, code, description string) {
	e := (&oauthError{code, description}).told()
	w.Header().Set("WWW-Authenticate", `Bearer realm="mesh", error="`+e.Code+`", error_description="`+e.Description+`"`)
	writeJSON(w, status, e)
}

// introspection is RFC 7662 section 2.2.
type introspection struct {
	Active   bool     `json:"active"`
	Scope    string   `json:"scope,omitempty"`
	ClientID string   `json:"client_id,omitempty"`
	Username string   `json:"username,omitempty"`
	Type     string   `json:"token_type,omitempty"`
	Expires  int64    `json:"exp,omitempty"`
	Subject  string   `json:"sub,omitempty"`
	Audience string   `json:"aud,omitempty"`
	Issuer   string   `json:"iss,omitempty"`
	ID       string   `json:"jti,omitempty"`
	Email    string   `json:"email,omitempty"`
	Roles    []string `json:"roles,omitempty"`
}

// introspect says what a token means, to clients with a secret: the services.
func (p *Provider) introspect(w http.ResponseWriter, r *http.Request) {
	form, err := apiForm(r)
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	client, err := p.authenticate(r, form)
	if err == nil && client.public() {
		err = refuse("invalid_client", "introspection needs a client with a secret")
	}
	var token string
	if err == nil {
		token, err = required(form, "token")
	}
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, p.describe(r, token))
}

func (p *Provider) describe(r *http.Request, token string) introspection {
	if f, ok := p.refreshInfo(token); ok {
		return introspection{
			Active: true, Scope: strings.Join(f.Scopes, " "), ClientID: f.Client, Username: f.User,
			Expires: f.Expires.Unix(), Subject: f.User, Issuer: p.issuer(),
		}
	}
	c, err := p.verifier.Verify(r.Context(), token)
	if err != nil || !time.Now().Before(c.Expires) { // leeway is for clocks that differ, and this one set the end
		return introspection{}
	}
	return introspection{
		Active: true, Scope: strings.Join(c.Scopes, " "), ClientID: c.ClientID, Username: c.Subject,
		Type: "Bearer", Expires: c.Expires.Unix(), Subject: c.Subject, Audience: p.audience,
		Issuer: p.issuer(), ID: c.id, Email: c.Email, Roles: c.Roles,
	}
}

// revoke ends a token of the client that asks (RFC 7009). A refresh token
// takes its whole grant with it. What is no token of this client is answered
// alike: it is not good, which is what was asked for.
func (p *Provider) revoke(w http.ResponseWriter, r *http.Request) {
	form, err := apiForm(r)
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	client, err := p.authenticate(r, form)
	var token string
	if err == nil {
		token, err = required(form, "token")
	}
	if err == nil {
		err = p.revokeToken(r, client, token)
	}
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (p *Provider) revokeToken(r *http.Request, client *Client, token string) error {
	if f, ok := p.refreshInfo(token); ok {
		if f.Client != client.ID {
			return nil
		}
		return p.state.revoke(time.Now().Add(accessTTL+leeway), f.Grant)
	}
	if c, err := p.verifier.Verify(r.Context(), token); err == nil && c.ClientID == client.ID {
		return p.state.revoke(c.Expires.Add(leeway), c.id)
	}
	return nil
}
