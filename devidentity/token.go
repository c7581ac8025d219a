package devidentity

import (
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"
	grantClient  = "client_credentials"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// tokenResponse is RFC 6749 section 5.1.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope"` // also when it is none: without it, it would be what was asked for
}

// token is the token endpoint (RFC 6749 section 3.2).
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	answer, err := p.exchange(r)
	if err != nil {
		p.answerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *Provider) exchange(r *http.Request) (*tokenResponse, error) {
	form, err := apiForm(r)
	if err != nil {
		return nil, err
	}
	client, err := p.authenticate(r, form)
	if err != nil {
		return nil, err
	}
	switch form.Get("grant_type") {
	case grantCode:
		return p.redeemCode(client, form)
	case grantRefresh:
		return p.refresh(client, form)
	case grantClient:
		return p.clientCredentials(client, form)
	case grantDevice:
		return p.redeemDevice(client, form)
	case "":
		return nil, refuse("invalid_request", "there is no grant_type")
	}
	return nil, refuse("unsupported_grant_type", "this grant_type is not supported")
}

// apiForm reads the body of the endpoints for programs. Parameters in the
// query would end up in logs, and are refused (RFC 6749 section 2.3.1).
func apiForm(r *http.Request) (url.Values, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, refuse("invalid_request", "the body is not application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, refuse("invalid_request", "parameters belong in the body, not in the query")
	}
	if err := r.ParseForm(); err != nil {
		return nil, refuse("invalid_request", "the body cannot be parsed")
	}
	return given(r.PostForm), noDuplicates(r.PostForm)
}

// given takes parameters without a value for omitted (RFC 6749 section 3.2).
func given(form url.Values) url.Values {
	maps.DeleteFunc(form, func(_ string, values []string) bool { return len(values) == 1 && values[0] == "" })
	return form
}

// authenticate finds out which client asks: by its secret, in the header or
// in the body, or by its ID alone when it is a public one.
func (p *Provider) authenticate(r *http.Request, form url.Values) (*Client, error) {
	id, secret, basic, err := basicAuth(r)
	if err != nil {
		return nil, err
	}
	if basic && (form.Has("client_secret") || form.Has("client_id") && form.Get("client_id") != id) {
		return nil, refuse("invalid_request", "the client authenticates in two ways")
	}
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	client, known := p.directory.Load().clients[id]
	switch {
	case !known:
		return nil, refuse("invalid_client", "the client is not known, or its secret is wrong")
	case client.public() && secret == "":
		return client, nil
	case !client.secretIs(secret):
		return nil, refuse("invalid_client", "the client is not known, or its secret is wrong")
	}
	return client, nil
}

// basicAuth reads the header; ID and secret are form-encoded inside it (RFC
// 6749 section 2.3.1).
func basicAuth(r *http.Request) (id, secret string, ok bool, err error) {
	if r.Header.Get("Authorization") == "" {
		return "", "", false, nil
	}
	id, secret, ok = r.BasicAuth()
	if !ok {
		return "", "", false, refuse("invalid_client", "the Authorization header is not Basic")
	}
	if id, err = url.QueryUnescape(id); err == nil {
		secret, err = url.QueryUnescape(secret)
	}
	if err != nil {
		return "", "", false, refuse("invalid_client", "the Authorization header is not form-encoded")
	}
	return id, secret, true, nil
}

// clientCredentials issues a token to a client in its own name (RFC 6749
// section 4.4).
func (p *Provider) clientCredentials(client *Client, form url.Values) (*tokenResponse, error) {
	if client.public() {
		return nil, refuse("unauthorized_client", "a client without a secret has no credentials")
	}
	s := subject{scopes: client.Scopes, grant: newID()}
	s.setClient(client)
	if asked := strings.Fields(form.Get("scope")); len(asked) > 0 {
		slices.Sort(asked)
		asked = slices.Compact(asked)
		for _, scope := range asked {
			if !slices.Contains(client.Scopes, scope) {
				return nil, refuse("invalid_scope", "the client has no scope '%s'; it has: %s", short(scope), strings.Join(client.Scopes, " "))
			}
		}
		s.scopes = asked
	}
	return p.respond(&s, "")
}

// respond makes the tokens of a successful grant.
func (p *Provider) respond(s *subject, refreshToken string) (*tokenResponse, error) {
	access, err := p.mint.accessToken(s, accessTTL)
	if err != nil {
		return nil, err
	}
	answer := &tokenResponse{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int(accessTTL.Seconds()),
		RefreshToken: refreshToken, Scope: strings.Join(s.scopes, " "),
	}
	if s.has("openid") && !s.own {
		answer.IDToken, err = p.mint.idToken(s, access)
	}
	return answer, err
}
