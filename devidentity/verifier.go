package devidentity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// maxToken is the longest token that is looked at.
const maxToken = 16 << 10

// Claims is what a verified access token says.
type Claims struct {
	Subject, Email, ClientID string
	Roles, Scopes            []string
	Expires                  time.Time

	id     string
	person bool // a user signed in for it
}

// Verifier verifies access tokens of one issuer for one audience. It
// remembers tokens that were good, so that a known one costs no signature:
// the expiry and revocation are looked at every time. It may be used from
// many goroutines at once.
type Verifier struct {
	issuer     func() string
	audience   string
	keys       KeySource
	anyType    bool   // types other than at+jwt are taken
	rolesClaim string // other than roles; "": that
	revoked    func(tokenID string) bool
	cache      *cache
}

// NewVerifier returns a verifier for the access tokens of an issuer, whose
// keys it gets from keys. The claims that it returns are shared: they are
// not to be changed.
func NewVerifier(issuer, audience string, keys KeySource) *Verifier {
	never := func(string) bool { return false }
	return &Verifier{issuer: func() string { return issuer }, audience: audience, keys: keys, revoked: never, cache: newCache()}
}

// Verify returns the claims of a token, or an error that says what is wrong
// with it in words that may be shown to whoever sent it.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	claims := v.cache.get(token)
	if claims == nil {
		var err error
		if claims, err = v.verify(ctx, token); err != nil {
			return nil, err
		}
		v.cache.put(token, claims)
	}
	if !time.Now().Before(claims.Expires.Add(leeway)) {
		return nil, errors.New("the token has expired")
	}
	if v.revoked(claims.id) {
		return nil, errors.New("the token was revoked")
	}
	return claims, nil
}

// verify does the whole work, cheapest first: nothing is decoded of what is
// too long or does not have a JWT's form, and nothing is ever fetched or
// opened because a token says so.
func (v *Verifier) verify(ctx context.Context, token string) (*Claims, error) {
	if err := hasForm(token); err != nil {
		return nil, err
	}
	// The last letter of a part may have bits that nobody reads. Only one spelling
	// is taken, so that one token is one string.
	for part := range strings.SplitSeq(token, ".") {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, errors.New("the token is not base64url")
		}
	}
	kid, typ, err := readHeader(token)
	if err != nil {
		return nil, err
	}
	if typ != "at+jwt" && (!v.anyType || typ != "jwt" && typ != "") {
		return nil, errors.New("the token is not an access token (typ is not at+jwt)")
	}
	key, err := v.keys.Key(ctx, kid)
	if err != nil {
		return nil, fmt.Errorf("the token's signature cannot be checked: %w", err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{key.Algorithm})
	if err != nil {
		return nil, fmt.Errorf("the token is not signed with %s", key.Algorithm)
	}
	body, err := signed.Verify(key.Key)
	if err != nil {
		return nil, errors.New("the token's signature is wrong")
	}
	return v.readClaims(body)
}

// hasForm says whether a token looks like a signed JWT in compact form.
func hasForm(token string) error {
	if len(token) > maxToken {
		return fmt.Errorf("the token is longer than %d bytes", maxToken)
	}
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case c == '.':
			dots++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return errors.New("the token is not a JWT")
		}
	}
	if dots != 2 {
		return errors.New("the token is not a signed JWT")
	}
	return nil
}

// header is what a token's header may say. Keys and addresses of keys (jwk,
// jku, x5c, x5u) are not in it: a token with one is refused, and so is one
// with extensions that must be understood (crit, b64).
type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid"`

	ContentType any `json:"cty"`
	Critical    any `json:"crit"`
	Base64      any `json:"b64"`
	JWK         any `json:"jwk"`
	JKU         any `json:"jku"`
	X5C         any `json:"x5c"`
	X5U         any `json:"x5u"`
	Zip         any `json:"zip"`
}

// readHeader returns which key a token names and its type, in lower case and
// without "application/" (RFC 7515 section 4.1.9).
func readHeader(token string) (kid, typ string, err error) {
	encoded, _, _ := strings.Cut(token, ".")
	var h header
	if err := decodeStrict(encoded, &h); err != nil {
		return "", "", errors.New("the token's header is not valid")
	}
	for _, unwanted := range []any{h.ContentType, h.Critical, h.Base64, h.JWK, h.JKU, h.X5C, h.X5U, h.Zip} {
		if unwanted != nil {
			return "", "", errors.New("the token's header asks for something that is not supported")
		}
	}
	return h.KeyID, strings.TrimPrefix(strings.ToLower(h.Type), "application/"), nil
}

func (v *Verifier) readClaims(body []byte) (*Claims, error) {
	var c tokenClaims
	if err := unmarshalStrict(body, &c); err != nil {
		return nil, errors.New("the token's claims are not valid")
	}
	switch {
	case c.Issuer != v.issuer():
		return nil, errors.New("the token is from another issuer")
	case !c.Audience.has(v.audience):
		return nil, errors.New("the token is for another audience")
	case c.Subject == "":
		return nil, errors.New("the token has no subject")
	case !c.Expires.set:
		return nil, errors.New("the token has no expiry")
	case c.Nonce != nil || c.AccessTokenHash != nil || c.Kind == "ID" || c.Kind == "Refresh":
		return nil, errors.New("the token is not an access token")
	case c.NotBefore.set && time.Now().Add(leeway).Before(c.NotBefore.Time):
		return nil, errors.New("the token is not valid yet")
	}
	roles := c.Roles
	if v.rolesClaim != "" {
		var err error
		if roles, err = rolesIn(body, v.rolesClaim); err != nil {
			return nil, err
		}
	}
	return &Claims{
		Subject: c.Subject, Email: c.Email, ClientID: c.ClientID, Roles: roles,
		Scopes: strings.Fields(c.Scope), Expires: c.Expires.Time, id: c.ID, person: c.AuthTime.set,
	}, nil
}
