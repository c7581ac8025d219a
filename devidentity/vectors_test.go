package devidentity

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

// vectors are the signed examples of RFC 7515 (A.2, A.3) and RFC 8037 (A.4) with
// their public keys. They have no claims that we would take: what we say of one
// tells whether its signature was found good.
var vectors = map[string]struct{ key, token, good string }{
	"RFC 7515 A.2, RS256": {
		`{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`,
		"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		"another issuer"},
	"RFC 7515 A.3, ES256": {
		`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		"another issuer"},
	"RFC 8037 A.4, Ed25519": {
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		"claims are not valid"},
}

type fixedKeys map[string]PublicKey

func (f fixedKeys) Key(_ context.Context, kid string) (PublicKey, error) { return f[kid], nil }

func TestPublishedVectors(t *testing.T) {
	for name, vector := range vectors {
		var key jose.JSONWebKey
		if err := json.Unmarshal([]byte(vector.key), &key); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		keys, err := usable(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v := NewVerifier("https://id.example", "shop", fixedKeys(keys))
		v.anyType = true
		if _, err := v.Verify(t.Context(), vector.token); err == nil || !strings.Contains(err.Error(), vector.good) {
			t.Errorf("%s: %v", name, err)
		}
		// Each letter of each part matters.
		for at := range vector.token {
			if vector.token[at] == '.' {
				continue
			}
			changed := []byte(vector.token)
			changed[at] = 'A' + (changed[at]-'A'+1)%26
			if _, err := v.Verify(t.Context(), string(changed)); err == nil || strings.Contains(err.Error(), vector.good) {
				t.Fatalf("%s with another letter at %d: %v", name, at, err)
			}
		}
	}
	// RFC 7515 A.1, A.5 and A.6: a MAC, no signature, and JSON serialization.
	for name, token := range map[string]string{
		"A.1": "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		"A.5": "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
		"A.6": `{"payload":"eyJpc3MiOiJqb2UifQ","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","signature":"YQ"}]}`,
	} {
		var secret jose.JSONWebKey
		if err := json.Unmarshal([]byte(`{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`), &secret); err != nil {
			t.Fatal(err)
		}
		if _, err := usable(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{secret}}); err == nil {
			t.Error("a secret as a public key")
		}
		v := NewVerifier("joe", "shop", fixedKeys{"": {jose.HS256, secret.Key}})
		v.anyType = true
		if _, err := v.Verify(t.Context(), token); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
