package devidentity

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

// tokenClaims reads the claims of an access token. go-jose's JSON decoder
// takes names by their exact case and refuses an object that has one twice:
// otherwise two readers of one token could see two subjects.
type tokenClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   date     `json:"exp"`
	NotBefore date     `json:"nbf"`
	AuthTime  date     `json:"auth_time"` // of a user; a client in its own name has none
	ID        string   `json:"jti"`
	ClientID  string   `json:"client_id"`
	Email     string   `json:"email"`
	Roles     []string `json:"roles"`
	Scope     string   `json:"scope"`

	// Only ID tokens have these (OpenID Connect Core sections 2 and 3.1.3.6); of
	// the last, which is Keycloak's, some values.
	Nonce           any    `json:"nonce"`
	AccessTokenHash any    `json:"at_hash"`
	Kind            string `json:"typ"`
}

// rolesIn reads the roles in a claim that is called name or, where there is none,
// that name leads to, through objects, by its dots. Without it there are no roles.
func rolesIn(body []byte, name string) ([]string, error) {
	var claims map[string]any
	if err := unmarshalStrict(body, &claims); err != nil {
		return nil, errors.New("the token's claims are not valid")
	}
	found, there := claims[name]
	for step := range strings.SplitSeq(name, ".") {
		if there {
			break
		}
		found = claims[step]
		claims, _ = found.(map[string]any)
	}
	if found == nil {
		return nil, nil
	}
	list, ok := found.([]any)
	roles := make([]string, len(list))
	for i, role := range list {
		if roles[i], ok = role.(string); !ok {
			break
		}
	}
	if !ok {
		return nil, errors.New("the token's roles are no list of names")
	}
	return roles, nil
}

func decodeStrict(encoded string, into any) error {
	body, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return err
	}
	return unmarshalStrict(body, into)
}

func unmarshalStrict(body []byte, into any) error { return json.Unmarshal(body, into) }

// audience is one name or a list of them (RFC 7519 section 4.1.3).
type audience []string

func (a audience) has(name string) bool { return slices.Contains(a, name) }

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(body []byte) error {
	if len(body) > 0 && body[0] == '"' {
		var one string
		err := json.Unmarshal(body, &one)
		*a = audience{one}
		return err
	}
	var many []string
	err := json.Unmarshal(body, &many)
	*a = many
	return err
}

// date is a NumericDate: a JSON number, and nothing that looks like one.
type date struct {
	time.Time
	set bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *date) UnmarshalJSON(body []byte) error {
	seconds, err := strconv.ParseFloat(string(body), 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1<<52 {
		return errors.New("not a date")
	}
	whole, fraction := math.Modf(seconds)
	d.Time, d.set = time.Unix(int64(whole), int64(fraction*1e9)), true
	return nil
}
