package devidentity

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/ebef7166/mesh/internal/oidc"
)

// update gives the provider other users and clients.
func (w *world) update(users []User, clients []Client) {
	w.t.Helper()
	if err := w.Update(users, clients); err != nil {
		w.t.Fatal(err)
	}
}

// claimsIn decodes the body of a token.
func claimsIn(t *testing.T, token string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if err := decodeStrict(parts[1], &claims); err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	return claims
}

// TestAUserCalledAsAClient signs in as anybody does; the client's own tokens are not
// about a user.
func TestAUserCalledAsAClient(t *testing.T) {
	w := newWorld(t)
	w.update(append(w.config.Users, User{Name: "web"}), w.config.Clients)
	config, verifier := w.oauth("web", "openid", "offline_access"), oauth2.GenerateVerifier()
	answer := w.signInAs("web", config.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier)))
	token, err := config.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil || token.Extra("id_token") == nil {
		t.Fatalf("%v %v", token, err)
	}
	if _, own := w.form("/token", url.Values{"grant_type": {grantClient}}, w.as("web")); own["id_token"] != nil || claimsIn(t, own["access_token"].(string))["auth_time"] != nil {
		t.Errorf("in its own name: %v", own)
	}
	own, err := w.Issue(t.Context(), TokenRequest{Client: "web", Scopes: []string{"openid"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"client": own, "user": token.AccessToken} {
		status, info := w.form("/userinfo", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
		if (status == http.StatusOK) != (name == "user") {
			t.Errorf("userinfo of the %s: %d %v", name, status, info)
		}
	}
}

func TestACodeOfAUserWhoIsGone(t *testing.T) {
	w := newWorld(t)
	config, verifier := w.oauth("web", "openid", "offline_access"), oauth2.GenerateVerifier()
	answer := w.signInAs("alice", config.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier)))
	w.update(w.config.Users[1:], w.config.Clients)
	redeem := url.Values{"grant_type": {grantCode}, "code": {answer.Get("code")}, "redirect_uri": {config.RedirectURL}, "code_verifier": {verifier}}
	if status, got := w.form("/token", redeem, w.as("web")); status != http.StatusBadRequest || got["error"] != "invalid_grant" {
		t.Errorf("%d %v", status, got)
	}
}

// TestScopesThatAClientLost are not given to it by what it got before.
func TestScopesThatAClientLost(t *testing.T) {
	w := newWorld(t)
	token := w.tokens("web", "openid", "offline_access", "orders")
	config, verifier := w.oauth("web", "openid", "orders"), oauth2.GenerateVerifier()
	answer := w.signInAs("alice", config.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "login")))
	if _, twice := w.form("/token", url.Values{"grant_type": {grantClient}, "scope": {"orders orders"}}, w.as("web")); twice["scope"] != "orders" {
		t.Errorf("asked for twice: %v", twice)
	}
	clients := append([]Client{}, w.config.Clients...)
	clients[0].Scopes = nil
	w.update(w.config.Users, clients)
	_, got := w.form("/token", url.Values{"grant_type": {grantRefresh}, "refresh_token": {token.RefreshToken}}, w.as("web"))
	if got["scope"] != "openid offline_access" {
		t.Errorf("%v", got)
	}
	redeem := url.Values{"grant_type": {grantCode}, "code": {answer.Get("code")}, "redirect_uri": {config.RedirectURL}, "code_verifier": {verifier}}
	if _, got := w.form("/token", redeem, w.as("web")); got["scope"] != "openid" {
		t.Errorf("a code: %v", got)
	}
}

func TestClaimsOfAUser(t *testing.T) {
	w := newWorld(t)
	more := map[string]any{"tenant": "t1", "level": json.Number("12345678901234567"), "name": "Alice A.", "nested": map[string]any{"a": []any{true, "b"}}}
	w.config.Users[0].Claims = more
	w.update(w.config.Users, w.config.Clients)
	token := w.tokens("web", "openid", "profile")
	if _, err := w.verifier.Verify(t.Context(), token.AccessToken); err != nil {
		t.Error(err)
	}
	want := map[string]any{"tenant": "t1", "level": 12345678901234567., "name": "Alice A.", "nested": map[string]any{"a": []any{true, "b"}}, "sub": "alice"}
	_, info := w.form("/userinfo", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.AccessToken) })
	for where, got := range map[string]map[string]any{"access token": claimsIn(t, token.AccessToken), "ID token": claimsIn(t, token.Extra("id_token").(string)), "userinfo": info} {
		for name, value := range want {
			if !reflect.DeepEqual(got[name], value) {
				t.Errorf("%s: %s is %v", where, name, got[name])
			}
		}
	}
	for name, value := range map[string]any{"sub": "admin", "Sub": "admin", "roles": []string{"admin"}, "": 1, "f": func() {}, "long": strings.Repeat("x", oidc.MostClaims)} {
		if err := w.Update([]User{{Name: "x", Claims: map[string]any{name: value}}}, nil); err == nil {
			t.Errorf("the claim %q is taken", name)
		}
	}
}

// TestIntrospectionWithoutLeeway: the provider's own clock set the end.
func TestIntrospectionWithoutLeeway(t *testing.T) {
	w := newWorld(t)
	token, err := w.Issue(t.Context(), TokenRequest{User: "alice", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, got := w.form("/introspect", url.Values{"token": {token}}, w.as("cart"))
		if got["active"] == false {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v", got)
		}
	}
}

func TestParametersWithoutAValueAreOmitted(t *testing.T) {
	w := newWorld(t)
	config, verifier := w.oauth("web", "openid"), oauth2.GenerateVerifier()
	empty := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(verifier)}
	for _, name := range []string{"request", "request_uri", "max_age", "prompt"} {
		empty = append(empty, oauth2.SetAuthURLParam(name, ""))
	}
	code := w.signInAs("alice", config.AuthCodeURL("st", empty...)).Get("code")
	redeem := url.Values{"grant_type": {grantCode}, "code": {code}, "redirect_uri": {config.RedirectURL}, "code_verifier": {verifier}, "client_secret": {""}}
	if status, got := w.form("/token", redeem, w.as("web")); status != http.StatusOK {
		t.Errorf("%d %v", status, got)
	}
}
