package devidentity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// elsewhere is an issuer that is not ours.
type elsewhere struct {
	*httptest.Server
	t     *testing.T
	asked atomic.Int32
	down  atomic.Bool
	calls string // itself, where that is not its address

	mu   sync.Mutex
	keys []jose.JSONWebKey // private
}

func newElsewhere(t *testing.T, keys ...jose.JSONWebKey) *elsewhere {
	t.Helper()
	e := &elsewhere{t: t, keys: keys}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	e.calls = e.URL
	return e
}

func (e *elsewhere) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case e.down.Load():
		http.Error(w, "later", http.StatusServiceUnavailable)
	case r.URL.Path == "/.well-known/openid-configuration":
		e.asked.Add(1)
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, e.calls, e.URL+"/keys")
	default:
		e.mu.Lock()
		defer e.mu.Unlock()
		set := jose.JSONWebKeySet{}
		for _, k := range e.keys {
			set.Keys = append(set.Keys, k.Public())
		}
		_ = json.NewEncoder(w).Encode(set)
	}
}

// sign makes a token with a key, of a type, with the claims of a good access
// token and more.
func (e *elsewhere) sign(k jose.JSONWebKey, algorithm jose.SignatureAlgorithm, typ string, more map[string]any) string {
	e.t.Helper()
	claims := map[string]any{"iss": e.URL, "sub": "alice", "aud": "shop", "exp": time.Now().Add(time.Hour).Unix(), "roles": []string{"customer"}}
	for name, value := range more {
		claims[name] = value
	}
	body, err := json.Marshal(claims)
	if err != nil {
		e.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: k}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		e.t.Fatal(err)
	}
	signed, err := signer.Sign(body)
	if err != nil {
		e.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		e.t.Fatal(err)
	}
	return token
}

func ecKey(t *testing.T, curve elliptic.Curve, id string) jose.JSONWebKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: k, KeyID: id}
}

func TestTokensOfAnotherIssuer(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, ed := jose.JSONWebKey{Key: rsaKey, KeyID: "r"}, jose.JSONWebKey{Key: edKey, KeyID: "ed"}
	pinned := jose.JSONWebKey{Key: rsaKey, KeyID: "pinned", Algorithm: "PS256"}
	p256, p384 := ecKey(t, elliptic.P256(), "p256"), ecKey(t, elliptic.P384(), "p384")
	encrypts := ecKey(t, elliptic.P256(), "enc")
	encrypts.Use = "enc"
	e := newElsewhere(t, r, ed, pinned, p256, p384, encrypts)
	v := NewRemote(e.URL).Verifier("shop", "")
	for name, token := range map[string]string{
		"RS256": e.sign(r, jose.RS256, "JWT", nil), "PS256": e.sign(pinned, jose.PS256, "at+jwt", nil), "EdDSA": e.sign(ed, jose.EdDSA, "JWT", nil),
		"ES256": e.sign(p256, jose.ES256, "JWT", nil), "ES384": e.sign(p384, jose.ES384, "at+JWT", nil),
		"Keycloak's": e.sign(p256, jose.ES256, "JWT", map[string]any{"typ": "Bearer", "azp": "web"}),
	} {
		if claims, err := v.Verify(t.Context(), token); err != nil || claims.Subject != "alice" || claims.Roles[0] != "customer" {
			t.Errorf("%s: %+v %v", name, claims, err)
		}
	}
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	other := ecKey(t, elliptic.P256(), "p256")
	for name, token := range map[string]string{
		"another algorithm of the key": e.sign(r, jose.RS512, "JWT", nil), "not the one it says": e.sign(pinned, jose.RS256, "JWT", nil),
		"a key for encryption": e.sign(encrypts, jose.ES256, "JWT", nil), "somebody else's key": e.sign(other, jose.ES256, "JWT", nil),
		"an ID token": e.sign(p256, jose.ES256, "JWT", map[string]any{"nonce": "n"}), "another": e.sign(p256, jose.ES256, "JWT", map[string]any{"at_hash": "h"}),
		"Keycloak's ID token": e.sign(p256, jose.ES256, "JWT", map[string]any{"typ": "ID"}), "a logout token": e.sign(p256, jose.ES256, "logout+jwt", nil),
		"for somebody else": e.sign(p256, jose.ES256, "JWT", map[string]any{"aud": "other"}), "of another issuer": e.sign(p256, jose.ES256, "JWT", map[string]any{"iss": e.URL + "/"}),
	} {
		if claims, err := v.Verify(t.Context(), token); err == nil {
			t.Errorf("%s: accepted as %+v", name, claims)
		}
	}
}

func TestRolesOfAnotherIssuer(t *testing.T) {
	k := ecKey(t, elliptic.P256(), "1")
	e := newElsewhere(t, k)
	list := []any{"customer", "admin"}
	for name, test := range map[string]struct {
		claim string
		more  map[string]any
		want  string // of the roles, or the error
	}{
		"usual":          {"", nil, "[customer]"},
		"Keycloak's own": {"realm_access.roles", map[string]any{"realm_access": map[string]any{"roles": list}}, "[customer admin]"},
		"Auth0's":        {"https://shop.example/roles", map[string]any{"https://shop.example/roles": list}, "[customer admin]"},
		"none":           {"realm_access.roles", nil, "[]"},
		"no object":      {"realm_access.roles.x", map[string]any{"realm_access": "admin"}, "[]"},
		"a string":       {"groups", map[string]any{"groups": "admin"}, "no list"},
		"numbers":        {"groups", map[string]any{"groups": []any{1}}, "no list"},
		"null":           {"groups", map[string]any{"groups": nil}, "[]"},
	} {
		claims, err := NewRemote(e.URL).Verifier("shop", test.claim).Verify(t.Context(), e.sign(k, jose.ES256, "JWT", test.more))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(claims.Roles)
		}
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestKeysOfAnotherIssuer: a key that is new is fetched, but not for each token
// that names one; an issuer that is away for a while hurts nobody who has a token
// of a known key, and one that was never there gets no token in.
func TestKeysOfAnotherIssuer(t *testing.T) {
	first, second := ecKey(t, elliptic.P256(), "1"), ecKey(t, elliptic.P256(), "2")
	e := newElsewhere(t, first)
	e.down.Store(true)
	remote := NewRemote(e.URL)
	good := func(k jose.JSONWebKey) error {
		_, err := remote.Key(context.Background(), k.KeyID)
		return err
	}
	rest := func(d time.Duration) { // as if it had passed since the last fetch
		remote.asked = remote.asked.Add(-d)
		if set := remote.keys.Load(); set != nil {
			remote.keys.Store(&remoteKeys{set.byID, set.at.Add(-d)})
		}
	}
	if err := good(first); err == nil || !strings.Contains(err.Error(), "503") || remote.Err() == nil {
		t.Errorf("nobody there: %v, %v", err, remote.Err())
	}
	e.down.Store(false)
	rest(fetchPause)
	if err := good(first); err != nil || remote.Err() != nil {
		t.Errorf("there again: %v, %v", err, remote.Err())
	}
	var askers sync.WaitGroup
	for range 50 {
		askers.Go(func() {
			if good(second) == nil {
				t.Error("a key that nobody has")
			}
		})
	}
	askers.Wait()
	if n := e.asked.Load(); n != 1 {
		t.Errorf("asked %d times for a key that nobody has", n)
	}
	e.mu.Lock()
	e.keys = []jose.JSONWebKey{first, second}
	e.mu.Unlock()
	rest(fetchPause)
	if err := good(second); err != nil {
		t.Errorf("a new key: %v", err)
	}
	e.down.Store(true)
	rest(keysFresh)
	if err := good(first); err != nil {
		t.Errorf("the issuer is away: %v", err)
	}
	rest(keysHonoured)
	if err := good(first); err == nil {
		t.Error("the issuer is away for more than an hour")
	}
	e.down.Store(false)
	e.mu.Lock()
	e.keys = []jose.JSONWebKey{second}
	e.mu.Unlock()
	rest(keysFresh)
	if good(first) == nil || good(second) != nil {
		t.Error("a key that the issuer has taken back is honoured")
	}
}

func TestIssuersThatAreNot(t *testing.T) {
	k := ecKey(t, elliptic.P256(), "1")
	rsaOf := func(bits uint) jose.JSONWebKey { // Go makes no weak keys any more
		n := new(big.Int).Lsh(big.NewInt(1), bits)
		return jose.JSONWebKey{Key: &rsa.PublicKey{N: n.Sub(n, big.NewInt(1)), E: 65537}, KeyID: "1"}
	}
	if _, err := NewRemote(newElsewhere(t, rsaOf(2048)).URL).Key(t.Context(), "1"); err != nil {
		t.Errorf("a key that is not weak: %v", err)
	}
	for name, test := range map[string]struct {
		keys []jose.JSONWebKey
		set  func(*elsewhere)
		want string
	}{
		"calls itself something else": {[]jose.JSONWebKey{k}, func(e *elsewhere) { e.calls += "/" }, "to the letter"},
		"no keys":                     {nil, func(*elsewhere) {}, "no key"},
		"weak keys":                   {[]jose.JSONWebKey{rsaOf(1024)}, func(*elsewhere) {}, "no key"},
		"two of one name":             {[]jose.JSONWebKey{k, k}, func(*elsewhere) {}, "two of its keys"},
	} {
		e := newElsewhere(t, test.keys...)
		test.set(e)
		if _, err := NewRemote(e.URL).Key(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for address, want := range map[string]bool{"https://keys.example/jwks": true, "http://keys.example/jwks": false, "http://127.0.0.1:1/jwks": false, "file:///etc/passwd": false, "": false} {
		if got := NewRemote("https://id.example").trustworthy(address); got != want {
			t.Errorf("%s: %t", address, got)
		}
	}
}
