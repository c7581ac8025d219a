package devidentity

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A refresh token is the ID of its family, a dot, and a secret. So an old one
// still tells which family it belonged to, without a list of old ones. The
// ID appears nowhere else: who knows it has seen one of the tokens.

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func sameHash(token, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(hashToken(token)), []byte(hash)) == 1
}

// firstRefreshToken starts a family, for those who asked for offline access.
func (p *Provider) firstRefreshToken(s *subject) (string, error) {
	if !s.has("offline_access") {
		return "", nil
	}
	id := newID()
	token := id + "." + newID()
	return token, p.state.update(func(families map[string]family) error {
		families[id] = family{
			Grant: s.grant, Client: s.clientID, User: s.name, Scopes: s.scopes, AuthTime: s.authTime,
			Token: hashToken(token), Expires: time.Now().Add(refreshTTL),
		}
		return nil
	})
}

var errReplayed = errors.New("an old refresh token")

// refresh exchanges a refresh token for new tokens (RFC 6749 section 6), the
// refresh token included.
func (p *Provider) refresh(client *Client, form url.Values) (*tokenResponse, error) {
	old := form.Get("refresh_token")
	id, _, _ := strings.Cut(old, ".")
	token := id + "." + newID()
	f, err := p.rotate(client, id, old, token, strings.Fields(form.Get("scope")))
	if errors.Is(err, errReplayed) {
		p.log.Warn("identity saw an old refresh token and revoked its family", "client", client.ID, "user", f.User)
		if err := p.state.revoke(time.Now().Add(accessTTL+leeway), f.Grant); err != nil {
			return nil, err
		}
		return nil, refuse("invalid_grant", "the refresh token was used already; its family is revoked")
	}
	if err != nil {
		return nil, err
	}
	s := subject{clientID: client.ID, scopes: f.Scopes, authTime: f.AuthTime, grant: f.Grant}
	user, err := p.directory.Load().user(f.User)
	if err != nil {
		return nil, refuse("invalid_grant", "%v", err)
	}
	s.setUser(user)
	return p.respond(&s, token)
}

// rotate replaces a family's token in one step, so that of many who bring
// the same one a single one succeeds. It returns the family with the scopes
// that were asked for; the family itself keeps all of its own.
func (p *Provider) rotate(client *Client, id, old, next string, asked []string) (family, error) {
	var f family
	err := p.state.update(func(families map[string]family) error {
		known := false
		f, known = families[id]
		switch {
		case !known || !time.Now().Before(f.Expires) || f.Client != client.ID:
			return refuse("invalid_grant", "the refresh token is not known, has expired, or is not this client's")
		case !sameHash(old, f.Token):
			return errReplayed
		}
		scopes, err := narrowed(f.Scopes, asked)
		if err != nil {
			return err
		}
		f.Token, f.Expires = hashToken(next), time.Now().Add(refreshTTL)
		families[id] = f
		f.Scopes = scopes
		return nil
	})
	return f, err
}

// narrowed gives the scopes asked for, if all of them were granted before.
func narrowed(granted, asked []string) ([]string, error) {
	if len(asked) == 0 {
		return granted, nil
	}
	for _, scope := range asked {
		if !slices.Contains(granted, scope) {
			return nil, refuse("invalid_scope", "the scope %q was not granted", printable(scope))
		}
	}
	return asked, nil
}

// printable makes what a client sent fit for error_description, whose
// letters RFC 6749 section 5.2 limits.
func printable(s string) string {
	clean := func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}
	return strings.Map(clean, s[:min(len(s), 100)])
}

// refreshInfo describes a refresh token that is good.
func (p *Provider) refreshInfo(token string) (f family, ok bool) {
	id, _, _ := strings.Cut(token, ".")
	f, ok = p.state.family(id)
	return f, ok && sameHash(token, f.Token)
}
