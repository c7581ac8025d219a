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
// refresh token included. All of it is one step: of many who bring the same token
// a single one succeeds, and who is refused keeps a token that is good.
func (p *Provider) refresh(client *Client, form url.Values) (*tokenResponse, error) {
	old, err := required(form, "refresh_token")
	if err != nil {
		return nil, err
	}
	id, _, _ := strings.Cut(old, ".")
	var f family
	var answer *tokenResponse
	err = p.state.update(func(families map[string]family) (err error) {
		if f, err = familyOf(families, id, client, old); err != nil {
			return err
		}
		if answer, err = p.renew(client, f, id+"."+newID(), strings.Fields(form.Get("scope"))); err != nil {
			return err
		}
		f.Token, f.Expires = hashToken(answer.RefreshToken), time.Now().Add(refreshTTL)
		families[id] = f
		return nil
	})
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
	return answer, nil
}

// familyOf finds the family whose newest token a client brings.
func familyOf(families map[string]family, id string, client *Client, token string) (family, error) {
	f, known := families[id]
	switch {
	case !known || !time.Now().Before(f.Expires) || f.Client != client.ID:
		return f, refuse("invalid_grant", "the refresh token is not known, has expired, or is not this client's")
	case !sameHash(token, f.Token):
		return f, errReplayed
	}
	return f, nil
}

// renew makes the tokens that follow, with the scopes that were asked for and that the
// client may still have; the family itself keeps all of its own.
func (p *Provider) renew(client *Client, f family, next string, asked []string) (*tokenResponse, error) {
	scopes, err := narrowed(f.Scopes, asked)
	if err != nil {
		return nil, err
	}
	s, err := p.asNow(client, subject{name: f.User, clientID: f.Client, scopes: scopes, authTime: f.AuthTime, grant: f.Grant})
	if err != nil {
		return nil, err
	}
	return p.respond(&s, next)
}

// narrowed gives the scopes asked for, if all of them were granted before.
func narrowed(granted, asked []string) ([]string, error) {
	if len(asked) == 0 {
		return granted, nil
	}
	for _, scope := range asked {
		if !slices.Contains(granted, scope) {
			return nil, refuse("invalid_scope", "the scope '%s' was not granted", short(scope))
		}
	}
	return asked, nil
}

// refreshInfo describes a refresh token that is good.
func (p *Provider) refreshInfo(token string) (f family, ok bool) {
	id, _, _ := strings.Cut(token, ".")
	f, ok = p.state.family(id)
	return f, ok && sameHash(token, f.Token)
}
