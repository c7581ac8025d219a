package devidentity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"sync"
	"time"
)

// grant is what an authorization code stands for.
type grant struct {
	client    string
	redirect  string
	challenge string
	expires   time.Time
	subject   subject

	mu   sync.Mutex
	used bool
}

// redeemCode exchanges a code for tokens (RFC 6749 section 4.1.3). A code is
// good once; whoever comes second shows that it leaked, and ends what the
// first one got (section 4.1.2).
func (p *Provider) redeemCode(client *Client, form url.Values) (*tokenResponse, error) {
	code, err := required(form, "code")
	if err != nil {
		return nil, err
	}
	g, ok := p.codes.get(code)
	if !ok || g.client != client.ID {
		return nil, refuse("invalid_grant", "the code is not known, or not this client's")
	}
	g.mu.Lock() // until the tokens are there: a replay then revokes them
	defer g.mu.Unlock()
	if g.used {
		p.log.Warn("identity saw an authorization code twice and revoked its tokens", "client", client.ID, "user", g.subject.name)
		if err := p.state.revoke(time.Now().Add(accessTTL+leeway), g.subject.grant); err != nil {
			return nil, err
		}
		return nil, refuse("invalid_grant", "the code was used already; its tokens are revoked")
	}
	g.used = true
	if err := g.matches(form); err != nil {
		return nil, err
	}
	s, err := p.asNow(client, g.subject)
	if err != nil {
		return nil, err
	}
	refreshToken, err := p.firstRefreshToken(&s)
	if err != nil {
		return nil, err
	}
	return p.respond(&s, refreshToken)
}

// asNow is whom a grant was made for, as mesh.yaml has the user and the client when
// tokens are asked for: what was taken from either since is not in them.
func (p *Provider) asNow(client *Client, s subject) (subject, error) {
	user, err := p.directory.Load().user(s.name)
	if err != nil {
		return s, refuse("invalid_grant", "%v", err)
	}
	s.setUser(user)
	s.scopes = client.allowed(s.scopes)
	return s, nil
}

// redeemed says whether a code was brought to the token endpoint.
func (p *Provider) redeemed(code string) bool {
	g, ok := p.codes.get(code)
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.used
}

func (g *grant) matches(form url.Values) error {
	switch {
	case !time.Now().Before(g.expires):
		return refuse("invalid_grant", "the code has expired")
	case form.Get("redirect_uri") != g.redirect:
		return refuse("invalid_grant", "the redirect_uri is not the one that the code was sent to")
	case !proves(form.Get("code_verifier"), g.challenge):
		return refuse("invalid_grant", "the code_verifier does not fit the code_challenge")
	}
	return nil
}

// proves checks PKCE with S256 (RFC 7636 section 4.6).
func proves(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	return subtle.ConstantTimeCompare([]byte(want), []byte(challenge)) == 1
}
