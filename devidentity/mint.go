package devidentity

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// subject is whom a token is about, and why it was issued.
type subject struct {
	name     string
	email    string
	roles    []string
	clientID string
	scopes   []string
	authTime time.Time
	nonce    string
	grant    string // what revoking ends together; a prefix of the token's ID
	own      bool   // it is a client in its own name, and no user
	claims   map[string]any
}

func (s *subject) setUser(u *User) {
	s.name, s.email, s.roles, s.claims = u.Name, u.Email, u.Roles, u.Claims
}

func (s *subject) setClient(c *Client) {
	s.name, s.roles, s.clientID, s.own = c.ID, c.Roles, c.ID, true
}

func (s *subject) has(scope string) bool { return slices.Contains(s.scopes, scope) }

// accessClaims is the body of an access token (RFC 9068).
type accessClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	ClientID string   `json:"client_id"`
	Expires  int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ID       string   `json:"jti"`
	Email    string   `json:"email,omitempty"`
	Roles    []string `json:"roles,omitempty"`
	Scope    string   `json:"scope,omitempty"`
}

// idClaims is the body of an ID token (OpenID Connect Core section 2).
type idClaims struct {
	Issuer          string `json:"iss"`
	Subject         string `json:"sub"`
	Audience        string `json:"aud"`
	AuthorizedParty string `json:"azp"`
	Expires         int64  `json:"exp"`
	IssuedAt        int64  `json:"iat"`
	AuthTime        int64  `json:"auth_time"`
	Nonce           string `json:"nonce,omitempty"`
	AccessTokenHash string `json:"at_hash,omitempty"`
	profile
}

// profile is what a relying party may learn about a user, by scope.
type profile struct {
	Name              string   `json:"name,omitempty"`
	PreferredUsername string   `json:"preferred_username,omitempty"`
	Email             string   `json:"email,omitempty"`
	EmailVerified     bool     `json:"email_verified,omitempty"`
	Roles             []string `json:"roles,omitempty"`
}

func (s *subject) profile() profile {
	p := profile{Roles: s.roles}
	if s.has("profile") {
		p.Name, p.PreferredUsername = s.unlessClaimed("name"), s.unlessClaimed("preferred_username")
	}
	if s.has("email") && s.email != "" {
		p.Email, p.EmailVerified = s.email, true
	}
	return p
}

// unlessClaimed is the user's name, where the manifest gives no other one as this claim.
func (s *subject) unlessClaimed(claim string) string {
	if _, given := s.claims[claim]; given {
		return ""
	}
	return s.name
}

// mint signs tokens.
type mint struct {
	issuer   func() string
	audience string
	keys     *keyRing
}

func (m *mint) accessToken(s *subject, ttl time.Duration) (string, error) {
	now := time.Now()
	return sign(m.keys.current.Load().access, accessClaims{
		Issuer: m.issuer(), Subject: s.name, Audience: m.audience, ClientID: s.clientID,
		IssuedAt: now.Unix(), Expires: now.Add(ttl).Unix(), AuthTime: unixOrZero(s.authTime),
		ID: s.grant + "." + newID(), Email: s.email, Roles: s.roles, Scope: strings.Join(s.scopes, " "),
	}, s.claims)
}

func (m *mint) idToken(s *subject, accessToken string) (string, error) {
	now := time.Now()
	sum := sha256.Sum256([]byte(accessToken))
	return sign(m.keys.current.Load().id, idClaims{
		Issuer: m.issuer(), Subject: s.name, Audience: s.clientID, AuthorizedParty: s.clientID,
		IssuedAt: now.Unix(), Expires: now.Add(idTTL).Unix(), AuthTime: s.authTime.Unix(),
		Nonce: s.nonce, AccessTokenHash: base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]),
		profile: s.profile(),
	}, s.claims)
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// together is the JSON object of a struct and what more there is: names that the
// struct has not, as directory.addUser holds.
func together(claims any, more map[string]any) (json.RawMessage, error) {
	body, err := json.Marshal(claims)
	if err != nil || len(more) == 0 {
		return body, err
	}
	rest, err := json.Marshal(more)
	if err != nil {
		return nil, err
	}
	return slices.Concat(body[:len(body)-1], []byte(","), rest[1:]), nil
}

func sign(signer jose.Signer, claims any, more map[string]any) (string, error) {
	body, err := together(claims, more)
	if err != nil {
		return "", fmt.Errorf("identity: writing claims: %w", err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		return "", fmt.Errorf("identity: signing: %w", err)
	}
	return signed.CompactSerialize()
}
