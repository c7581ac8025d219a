package devidentity

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// A relying party that knows nothing of mesh: discovery, code with PKCE, ID
// token, userinfo.
func TestRelyingPartySignsIn(t *testing.T) {
	w := newWorld(t)
	discovered, err := oidc.NewProvider(oidc.ClientContext(t.Context(), w.browser), w.issuer())
	if err != nil {
		t.Fatal(err)
	}
	config, verifier := w.oauth("web", "openid", "email", "profile", "orders", "unknown"), oauth2.GenerateVerifier()
	config.Endpoint = discovered.Endpoint()
	answer := w.signInAs("alice", config.AuthCodeURL("the-state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the-nonce")))
	if answer.Get("state") != "the-state" || answer.Get("iss") != w.issuer() {
		t.Errorf("authorization response: %v", answer)
	}
	token, err := config.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	id, err := discovered.Verifier(&oidc.Config{ClientID: "web", SupportedSigningAlgs: []string{"ES256"}}).Verify(t.Context(), token.Extra("id_token").(string))
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Email string
		Roles []string
	}
	if err := id.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	if id.Subject != "alice" || id.Nonce != "the-nonce" || claims.Email != "alice@example.test" || id.VerifyAccessToken(token.AccessToken) != nil {
		t.Errorf("ID token: %+v %+v", id, claims)
	}
	info, err := discovered.UserInfo(oidc.ClientContext(t.Context(), w.browser), oauth2.StaticTokenSource(token))
	if err != nil || info.Subject != "alice" || info.Email != "alice@example.test" {
		t.Errorf("userinfo: %+v %v", info, err)
	}
	got, err := w.Verifier().Verify(t.Context(), token.AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	if got.ClientID != "web" || !slices.Equal(got.Roles, []string{"customer"}) || !slices.Equal(got.Scopes, []string{"openid", "email", "profile", "orders"}) {
		t.Errorf("access token: %+v", got)
	}
}

func TestSessionMakesTheNextSignInSilent(t *testing.T) {
	w := newWorld(t)
	w.tokens("web", "openid")
	config := w.oauth("web", "openid")
	r, _ := w.get(config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "none")))
	if w.sentTo(r).Get("code") == "" {
		t.Errorf("prompt=none with a session: %s", r.Header.Get("Location"))
	}
	r, page := w.get(config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "select_account")))
	if r.StatusCode != http.StatusOK || !strings.Contains(page, "alice@example.test") {
		t.Errorf("prompt=select_account: %s", r.Status)
	}
	w.get(w.endpoint("/end_session?id_token_hint=") + w.tokens("web", "openid").Extra("id_token").(string))
	r, _ = w.get(config.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "none")))
	if got := w.sentTo(r).Get("error"); got != "login_required" {
		t.Errorf("prompt=none after logout: %q", got)
	}
}

func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, w.browser)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		config := clientcredentials.Config{ClientID: "cart", ClientSecret: "s3 cr:et%", TokenURL: w.endpoint("/token"), AuthStyle: style}
		token, err := config.Token(ctx)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Verifier().Verify(ctx, token.AccessToken)
		if err != nil || got.Subject != "cart" || !slices.Equal(got.Roles, []string{"service"}) || len(got.Scopes) != 2 {
			t.Errorf("token of a client: %+v %v", got, err)
		}
	}
}

func TestRefreshRotatesAndSurvivesARestart(t *testing.T) {
	w := newWorld(t)
	first := w.tokens("web", "openid", "offline_access")
	w.restart()
	second := w.refreshed("web", first.RefreshToken, http.StatusOK)
	if _, err := w.Verifier().Verify(t.Context(), first.AccessToken); err != nil {
		t.Errorf("an access token of before the restart: %v", err)
	}
	w.refreshed("web", first.RefreshToken, http.StatusBadRequest)                        // a replay…
	w.refreshed("web", second["refresh_token"].(string), http.StatusBadRequest)          // …ends the family…
	for _, token := range []string{first.AccessToken, second["access_token"].(string)} { // …and its access tokens
		if _, err := w.Verifier().Verify(t.Context(), token); err == nil {
			t.Error("an access token of a replayed family is still good")
		}
	}
	w.restart()
	if _, err := w.Verifier().Verify(t.Context(), first.AccessToken); err == nil {
		t.Error("a restart forgot a revocation")
	}
}

// TestARefusedRefreshCostsNothing: the token is still good when its user is back,
// or when the scope is one that was granted.
func TestARefusedRefreshCostsNothing(t *testing.T) {
	w := newWorld(t)
	token := w.tokens("web", "openid", "offline_access").RefreshToken
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(w.Update(w.config.Users[1:], w.config.Clients))
	if answer := w.refreshed("web", token, http.StatusBadRequest); answer["error"] != "invalid_grant" {
		t.Errorf("without the user: %v", answer)
	}
	check(w.Update(w.config.Users, w.config.Clients))
	next := w.refreshed("web", token, http.StatusOK)
	check(w.Update(w.config.Users[1:], w.config.Clients))
	w.refreshed("web", token, http.StatusBadRequest) // a replay, though the user is gone again
	check(w.Update(w.config.Users, w.config.Clients))
	if answer := w.refreshed("web", next["refresh_token"].(string), http.StatusBadRequest); !strings.Contains(answer["error_description"].(string), "not known") {
		t.Errorf("after a replay: %v", answer)
	}
}

func TestRefreshedByAHundredAtOnce(t *testing.T) {
	w := newWorld(t)
	w.redeemedOnce(w.refresh, url.Values{"refresh_token": {w.tokens("web", "openid", "offline_access").RefreshToken}}, "refresh token")
}

// redeemedOnce has a hundred bring the same at once: one of them gets tokens, and those
// are revoked, since somebody else has brought it too.
func (w *world) redeemedOnce(redeem func(*Client, url.Values) (*tokenResponse, error), form url.Values, what string) {
	w.t.Helper()
	var succeeded atomic.Int32
	var access atomic.Value
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if answer, err := redeem(w.directory.Load().clients["web"], form); err == nil {
				succeeded.Add(1)
				access.Store(answer.AccessToken)
			}
		})
	}
	all.Wait()
	if succeeded.Load() != 1 {
		w.t.Fatalf("%d of 100 got tokens", succeeded.Load())
	}
	if _, err := w.Verifier().Verify(w.t.Context(), access.Load().(string)); err == nil || !strings.Contains(err.Error(), "revoked") {
		w.t.Errorf("the token of a replayed %s: %v", what, err)
	}
}

func (w *world) refreshed(client, token string, want int) map[string]any {
	w.t.Helper()
	status, answer := w.form("/token", url.Values{"grant_type": {grantRefresh}, "refresh_token": {token}}, w.as(client))
	if status != want {
		w.t.Fatalf("refresh: %d %v, want %d", status, answer, want)
	}
	return answer
}

func (w *world) as(client string) func(*http.Request) {
	c := w.directory.Load().clients[client]
	return func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret)) }
}

func TestCodeRedeemedByAHundredAtOnce(t *testing.T) {
	w := newWorld(t)
	config, verifier := w.oauth("web", "openid", "offline_access"), oauth2.GenerateVerifier()
	code := w.signInAs("alice", config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))).Get("code")
	form := url.Values{"code": {code}, "code_verifier": {verifier}, "redirect_uri": {config.RedirectURL}}
	w.redeemedOnce(w.redeemCode, form, "code")
}

// TestScopeIsTold: an answer without a scope would grant the one that was asked for
// (RFC 6749 section 5.1).
func TestScopeIsTold(t *testing.T) {
	w := newWorld(t)
	if scope, told := w.tokens("web", "unknown").Extra("scope").(string); !told || scope != "" {
		t.Errorf("nothing was granted: %q, told %v", scope, told)
	}
	if scope := w.tokens("web", "openid", "unknown").Extra("scope"); scope != "openid" {
		t.Errorf("openid was granted: %q", scope)
	}
}

func TestDeviceGrant(t *testing.T) {
	w := newWorld(t)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, w.browser)
	config := w.oauth("spa", "openid", "offline_access")
	device, err := config.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	poll := url.Values{"grant_type": {grantDevice}, "device_code": {device.DeviceCode}, "client_id": {"spa"}}
	if _, answer := w.form("/token", poll); answer["error"] != "authorization_pending" {
		t.Errorf("first question: %v", answer)
	}
	if _, answer := w.form("/token", poll); answer["error"] != "slow_down" {
		t.Errorf("second question at once: %v", answer)
	}
	if _, page := w.get(device.VerificationURIComplete); !strings.Contains(page, "spa") || !strings.Contains(page, `value="alice"`) {
		t.Errorf("page for the user: %s", page)
	}
	typed := strings.ToLower(strings.ReplaceAll(device.UserCode, "-", " "))
	r, err := w.browser.PostForm(w.endpoint("/device"), url.Values{"user_code": {typed}, "user": {"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	if said := readAll(t, r); !strings.Contains(said, "Done") {
		t.Errorf("the user's answer: %s", said)
	}
	again, err := w.browser.PostForm(w.endpoint("/device"), url.Values{"user_code": {typed}, "user": {"bob"}})
	if err != nil {
		t.Fatal(err)
	}
	if said := readAll(t, again); !strings.Contains(said, "Done") {
		t.Errorf("a second click: %s", said)
	}
	status, answer := w.form("/token", poll)
	if status != http.StatusOK || answer["refresh_token"] == nil || answer["id_token"] == nil {
		t.Fatalf("after the user agreed: %d %v", status, answer)
	}
	if _, got := w.form("/introspect", url.Values{"token": {answer["access_token"].(string)}}, w.as("cart")); got["sub"] != "alice" {
		t.Errorf("who agreed: %v", got)
	}
	if _, answer := w.form("/token", poll); answer["error"] != "invalid_grant" {
		t.Errorf("the same device code again: %v", answer)
	}
}

func TestIntrospectionAndRevocation(t *testing.T) {
	w := newWorld(t)
	token := w.tokens("web", "openid", "offline_access")
	for _, value := range []string{token.AccessToken, token.RefreshToken} {
		if _, answer := w.form("/introspect", url.Values{"token": {value}}, w.as("cart")); answer["active"] != true || answer["sub"] != "alice" {
			t.Errorf("introspection: %v", answer)
		}
	}
	if status, _ := w.form("/revoke", url.Values{"token": {token.AccessToken}}, w.as("cart")); status != http.StatusOK {
		t.Error("revoking another's token must look like success")
	}
	if _, answer := w.form("/introspect", url.Values{"token": {token.AccessToken}}, w.as("cart")); answer["active"] != true {
		t.Error("a client revoked another client's token")
	}
	w.form("/revoke", url.Values{"token": {token.RefreshToken}}, w.as("web"))
	for _, value := range []string{token.AccessToken, token.RefreshToken, "nonsense"} {
		if _, answer := w.form("/introspect", url.Values{"token": {value}}, w.as("cart")); answer["active"] != false || len(answer) != 1 {
			t.Errorf("after revocation: %v", answer)
		}
	}
	if status, answer := w.form("/introspect", url.Values{"token": {"x"}, "client_id": {"spa"}}); status != http.StatusUnauthorized {
		t.Errorf("introspection by a public client: %d %v", status, answer)
	}
}

func TestUserinfoSaysWhatItWants(t *testing.T) {
	w := newWorld(t)
	for header, want := range map[string]string{
		"":                    `Bearer realm="mesh"`,
		"Basic d2ViOng=":      `Bearer realm="mesh"`,
		"Bearer a.b.c":        `Bearer realm="mesh", error="invalid_token", error_description="the token is not base64url"`,
		"Bearer " + w.issue(): "",
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.endpoint("/userinfo"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", header)
		answer, err := w.browser.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, answer)
		if got := answer.Header.Get("WWW-Authenticate"); got != want || (answer.StatusCode == http.StatusOK) != (want == "") {
			t.Errorf("%.20q: %s %q, want %q", header, answer.Status, got, want)
		}
	}
}

func TestIssue(t *testing.T) {
	w := newWorld(t)
	token, err := w.Issue(t.Context(), TokenRequest{User: "admin", Scopes: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Verifier().Verify(t.Context(), token)
	if err != nil || got.Subject != "admin" || !slices.Equal(got.Scopes, []string{"a", "b"}) {
		t.Errorf("issued: %+v %v", got, err)
	}
	if _, err := w.Issue(t.Context(), TokenRequest{User: "mallory"}); err == nil || !strings.Contains(err.Error(), "admin, alice") {
		t.Errorf("unknown user: %v", err)
	}
	if _, err := w.Issue(t.Context(), TokenRequest{}); err == nil {
		t.Error("a token for nobody")
	}
}

func TestKeysStayPrivateAndStay(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(w.config.Dir, "keys.json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v %v", info.Mode(), err)
	}
	_, jwks := w.get(w.endpoint("/jwks"))
	if strings.Contains(jwks, `"d"`) || !strings.Contains(jwks, `"ES256"`) {
		t.Errorf("JWKS: %s", jwks)
	}
	before, _ := os.ReadFile(file)
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(w.config); err == nil {
		t.Error("a key that everybody could read was taken")
	}
	for _, damaged := range []string{"", "{}", "{", strings.Replace(string(before), "ES256", "HS256", 1)} {
		os.WriteFile(file, []byte(damaged), 0o600)
		os.Chmod(file, 0o600)
		if _, err := New(w.config); err == nil {
			t.Errorf("a damaged key file was taken: %q", damaged)
		}
	}
}

// TestHintedUser: with the ID token of a user a client gets that user or an error,
// whoever is signed in.
func TestHintedUser(t *testing.T) {
	w := newWorld(t)
	hint := w.tokens("web", "openid").Extra("id_token").(string)
	ask := func(hint string, more ...oauth2.AuthCodeOption) string {
		more = append(more, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("id_token_hint", hint))
		return w.oauth("web", "openid").AuthCodeURL("s", more...)
	}
	none := oauth2.SetAuthURLParam("prompt", "none")
	if r, _ := w.get(ask(hint, none)); w.sentTo(r).Get("code") == "" {
		t.Errorf("the user of the hint is signed in: %s", r.Header.Get("Location"))
	}
	w.signInAs("admin", w.oauth("web", "openid").AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()), oauth2.SetAuthURLParam("prompt", "login")))
	if r, _ := w.get(ask(hint, none)); w.sentTo(r).Get("error") != "login_required" || w.sentTo(r).Has("code") {
		t.Errorf("another is signed in: %s", r.Header.Get("Location"))
	}
	if _, page := w.get(ask(hint)); !strings.Contains(page, `value="alice" autofocus`) {
		t.Errorf("without prompt=none, no page that proposes the user: %s", page)
	}
	if back := w.signInAs("admin", ask(hint)); back.Get("error") != "login_required" || back.Has("code") {
		t.Errorf("another signs in then: %v", back)
	}
	if back := w.signInAs("alice", ask(hint)); back.Get("code") == "" {
		t.Errorf("the user of the hint signs in then: %v", back)
	}
	kid := w.kids()[0]
	expired := w.forge(`{"alg":"ES256","typ":"JWT","kid":"`+kid+`"}`, `{"iss":"`+w.issuer()+`","aud":"web","sub":"alice","exp":1}`)
	if r, _ := w.get(ask(expired, none)); w.sentTo(r).Get("code") == "" {
		t.Errorf("an expired hint: %s", r.Header.Get("Location"))
	}
	for name, hint := range map[string]string{"nonsense": "x.y.z", "an access token": w.issue(), "another signature": hint[:len(hint)-8] + "AAAAAAAA"} {
		if r, _ := w.get(ask(hint, none)); w.sentTo(r).Get("error") != "invalid_request" {
			t.Errorf("%s as a hint: %s", name, r.Header.Get("Location"))
		}
	}
}
