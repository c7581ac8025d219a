package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestAnIssuerOfOnesOwn runs a workspace whose tokens somebody else makes: the
// gateway takes those and no others, and services are told of that issuer.
func TestAnIssuerOfOnesOwn(t *testing.T) {
	i := newIssuer(t)
	d := &demo{t: t, dir: t.TempDir()}
	t.Cleanup(func() { _, _ = d.mesh("down") })
	manifest := `version: 1
name: work
identity:
  issuer: ` + i.URL + `
  audience: shop
  clients: [{id: a, secret: its-secret}]
services:
  a: {dir: ., run: ` + filepath.Join(bin, "testservice") + `, watch: manual, routes: [{prefix: /, roles: [customer]}]}
  b: {dir: ., run: ` + filepath.Join(bin, "testservice") + `, watch: manual}
`
	if err := os.WriteFile(filepath.Join(d.dir, "mesh.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	d.up()
	status := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.gateway, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	plain := i.sign(jose.ES256, i.key, "JWT", i.claims(nil)) // as Keycloak's are
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"its token": {i.token(nil), http.StatusOK}, "its plain JWT": {plain, http.StatusOK}, "none": {"", http.StatusUnauthorized},
		"of another": {i.token(map[string]any{"iss": "https://id.example"}), http.StatusUnauthorized}, "for another": {i.token(map[string]any{"aud": "work"}), http.StatusUnauthorized},
		"another role": {i.token(map[string]any{"roles": []string{"guest"}}), http.StatusForbidden}, "forged": {i.sign(jose.ES256, newKey(t), "at+jwt", i.claims(nil)), http.StatusUnauthorized},
	} {
		if got := status(test.token); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	if env := d.env("a"); env["OIDC_ISSUER"] != i.URL || env["OIDC_AUDIENCE"] != "shop" || env["OIDC_CLIENT_ID"] != "a" || env["OIDC_CLIENT_SECRET"] != "its-secret" {
		t.Errorf("%v", env)
	}
	if env := d.env("b"); env["OIDC_CLIENT_SECRET"] != "" {
		t.Error("a secret that the issuer does not know")
	}
	for _, args := range [][]string{{"token", "--user", "alice"}, {"identity", "rotate"}} {
		if out, err := d.run("mesh", append([]string{"-C", d.dir}, args...)...); err == nil || !strings.Contains(out, "identity.issuer is "+i.URL) {
			t.Errorf("%v: %s %v", args, out, err)
		}
	}
	i.Close() // whose keys are known
	if got := status(i.token(map[string]any{"exp": time.Now().Add(time.Minute).Unix()})); got != http.StatusOK {
		t.Errorf("without the issuer: %d", got)
	}
}

// TestRotatedKeys: tokens of the old key and of the new one pass the gateway and
// the service behind it, which has seen the old one only.
func TestRotatedKeys(t *testing.T) {
	d := startDemo(t)
	get := func(token string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.gateway+"/cart.v1.CartService/GetCart", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	before := d.token("alice")
	first := get(before)
	if first == http.StatusUnauthorized {
		t.Fatal("refused before anything was changed")
	}
	var r struct {
		Key     string
		Retired []struct{ Until time.Time }
	}
	d.json(&r, "identity", "rotate")
	if r.Key == "" || len(r.Retired) != 1 || time.Until(r.Retired[0].Until) < 23*time.Hour {
		t.Errorf("%+v", r)
	}
	if after := d.token("alice"); get(after) != first || get(before) != first {
		t.Error("a token of one of the two keys is refused")
	}
}
