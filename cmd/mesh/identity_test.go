package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is an OpenID Connect provider that is not mesh's, and signs whatever a
// test wants signed.
type issuer struct {
	*httptest.Server
	t   *testing.T
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, key: newKey(t)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// claims are those of a good access token, changed by changes.
func (i *issuer) claims(changes map[string]any) map[string]any {
	claims := map[string]any{"iss": i.URL, "sub": "alice", "aud": "shop", "roles": []string{"customer"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// sign makes a token with any algorithm, key, type and claims.
func (i *issuer) sign(alg jose.SignatureAlgorithm, key any, typ jose.ContentType, claims map[string]any) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, (&jose.SignerOptions{}).WithType(typ))
	if err != nil {
		i.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		i.t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

func (i *issuer) token(changes map[string]any) string {
	return i.sign(jose.ES256, i.key, "at+jwt", i.claims(changes))
}

// unsigned is a token of algorithm none, however that is spelt.
func (i *issuer) unsigned(alg string) string {
	header, _ := json.Marshal(map[string]string{"alg": alg, "typ": "at+jwt", "kid": "1"})
	payload, _ := json.Marshal(i.claims(nil))
	return base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

// cart is the generated service of that name, alone: no gateway stands before
// it, and profile is the test's own.
func startCart(t *testing.T, i *issuer, profile string) *demo {
	t.Helper()
	d := &demo{t: t, dir: filepath.Join(t.TempDir(), "shop")}
	if out, err := d.run("mesh", "demo", d.dir, "--run=false"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program := filepath.Join(t.TempDir(), "cart")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./services/cart/cmd/cart")
	build.Dir = d.dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	host, port, _ := net.SplitHostPort(address)
	var log strings.Builder
	service := exec.Command(program)
	service.Stdout, service.Stderr = &log, &log
	service.Env = []string{"HOST=" + host, "PORT=" + port, "OIDC_ISSUER=" + i.URL, "OIDC_AUDIENCE=shop",
		"DATABASE_URL=sqlite://" + filepath.Join(t.TempDir(), "cart.db"), "NATS_URL=nats://127.0.0.1:1", "PROFILE_URL=" + profile}
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Signal(os.Interrupt)
		if err := service.Wait(); err != nil || t.Failed() {
			t.Errorf("cart ended with %v\n%s", err, log.String())
		}
	})
	d.gateway = "http://" + address
	eventually(t, 20*time.Second, "cart is ready", func() bool {
		resp, err := http.Get(d.gateway + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	return d
}

// TestServicesVerifyTokens holds what generated services need not believe a
// gateway for: who calls.
func TestServicesVerifyTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a service")
	}
	var mu sync.Mutex
	var passedOn []string
	profile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		passedOn = append(passedOn, r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/proto")
	}))
	defer profile.Close()
	i := newIssuer(t)
	d := startCart(t, i, profile.URL)

	good := i.token(nil)
	parts := strings.Split(good, ".")
	other, _ := json.Marshal(i.claims(map[string]any{"sub": "admin", "roles": []string{"admin"}}))
	public, _ := json.Marshal(jose.JSONWebKey{Key: i.key.Public()})
	for name, token := range map[string]string{
		"no token":           "",
		"nonsense":           "nonsense",
		"a changed claim":    parts[0] + "." + base64.RawURLEncoding.EncodeToString(other) + "." + parts[2],
		"no signature":       parts[0] + "." + parts[1] + ".",
		"a changed byte":     good[:len(good)-8] + map[bool]string{true: "B", false: "A"}[good[len(good)-8] == 'A'] + good[len(good)-7:],
		"alg none":           i.unsigned("none"),
		"alg nOnE":           i.unsigned("nOnE"),
		"the public key":     i.sign(jose.HS256, public, "at+jwt", i.claims(nil)),
		"another's key":      i.sign(jose.ES256, newKey(t), "at+jwt", i.claims(nil)),
		"another audience":   i.token(map[string]any{"aud": "bank"}),
		"no audience":        i.token(map[string]any{"aud": nil}),
		"another issuer":     i.token(map[string]any{"iss": i.URL + "/"}),
		"expired":            i.token(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
		"never expires":      i.token(map[string]any{"exp": nil}),
		"not yet":            i.token(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"an ID token":        i.sign(jose.ES256, i.key, "JWT", i.claims(nil)),
		"a token of no type": i.sign(jose.ES256, i.key, "", i.claims(nil)),
	} {
		if out, code := (overHTTP{d, token}).call(addItem, map[string]any{"sku": "tea", "quantity": 1, "unitPriceCents": 1}); code != "unauthenticated" {
			t.Errorf("%s: %q %v", name, code, out)
		}
	}
	refused(t, overGRPC{d, i.unsigned("none")}, getCart, map[string]any{}, "unauthenticated")
	if len(passedOn) > 0 {
		t.Errorf("called on behalf of nobody: %v", passedOn)
	}

	for _, token := range []string{good, i.token(map[string]any{"sub": "bob", "aud": []string{"bank", "shop"}, "exp": time.Now().Add(-10 * time.Second).Unix()})} {
		out := must(t, overHTTP{d, token}, addItem, map[string]any{"sku": "tea", "quantity": 1, "unitPriceCents": 350})
		if got := at(out, "cart.userId"); got != "alice" && got != "bob" {
			t.Errorf("the cart is %v's", got)
		}
		mu.Lock()
		if !slices.Contains(passedOn, "Bearer "+token) {
			t.Errorf("profile was called with %v, want the caller's own token", passedOn)
		}
		mu.Unlock()
	}
}
