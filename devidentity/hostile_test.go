package devidentity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// forge signs any header and claims with the provider's own key, as only the
// provider could: what is refused then is refused for what it says.
func (w *world) forge(header, claims string) string {
	w.t.Helper()
	key := w.mint.keys.current.Load().Keys[0].Key.(*ecdsa.PrivateKey)
	input := b64(header) + "." + b64(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	return input + "." + b64(string(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)))
}

func TestTokensThatAreRefused(t *testing.T) {
	w := newWorld(t)
	kid := w.mint.keys.current.Load().Keys[0].KeyID
	head := func(more string) string { return `{"alg":"ES256","typ":"at+jwt","kid":"` + kid + `"` + more + `}` }
	now := time.Now().Unix()
	body := func(iss, aud, exp, more string) string {
		return fmt.Sprintf(`{"iss":%q,"aud":%s,"exp":%s,"sub":"alice"%s}`, iss, aud, exp, more)
	}
	soon := fmt.Sprint(now + 60)
	good := body(w.issuer(), `"shop"`, soon, "")
	if _, err := w.verifier.Verify(t.Context(), w.forge(head(""), good)); err != nil {
		t.Fatalf("the forge does not work: %v", err)
	}
	for name, token := range map[string]string{
		"typ JWT":        w.forge(`{"alg":"ES256","typ":"JWT","kid":"`+kid+`"}`, good),
		"no typ":         w.forge(`{"alg":"ES256","kid":"`+kid+`"}`, good),
		"alg none":       b64(`{"alg":"none","typ":"at+jwt","kid":"`+kid+`"}`) + "." + b64(good) + ".",
		"alg nOnE":       b64(`{"alg":"nOnE","typ":"at+jwt","kid":"`+kid+`"}`) + "." + b64(good) + ".",
		"alg ES384":      w.forge(`{"alg":"ES384","typ":"at+jwt","kid":"`+kid+`"}`, good),
		"HS256":          hs256(w, kid, good),
		"own jwk":        selfSigned(t, good),
		"jku":            w.forge(head(`,"jku":"http://127.0.0.1:1/"`), good),
		"x5u":            w.forge(head(`,"x5u":"http://127.0.0.1:1/"`), good),
		"jwk":            w.forge(head(`,"jwk":{"kty":"EC"}`), good),
		"crit":           w.forge(head(`,"crit":["exp"]`), good),
		"b64":            w.forge(head(`,"b64":false,"crit":["b64"]`), good),
		"cty":            w.forge(head(`,"cty":"JWT"`), good),
		"two algs":       w.forge(head(`,"alg":"ES256"`), good),
		"kid a path":     w.forge(`{"alg":"ES256","typ":"at+jwt","kid":"../../dev/null"}`, good),
		"kid a number":   w.forge(`{"alg":"ES256","typ":"at+jwt","kid":1}`, good),
		"no kid":         w.forge(`{"alg":"ES256","typ":"at+jwt"}`, good),
		"no aud":         w.forge(head(""), `{"iss":"`+w.issuer()+`","exp":`+soon+`,"sub":"a"}`),
		"another aud":    w.forge(head(""), body(w.issuer(), `["other","Shop"]`, soon, "")),
		"aud an object":  w.forge(head(""), body(w.issuer(), `{"shop":1}`, soon, "")),
		"iss with slash": w.forge(head(""), body(w.issuer()+"/", `"shop"`, soon, "")),
		"exp a string":   w.forge(head(""), body(w.issuer(), `"shop"`, `"`+soon+`"`, "")),
		"exp 1e400":      w.forge(head(""), body(w.issuer(), `"shop"`, `1e400`, "")),
		"exp 1e300":      w.forge(head(""), body(w.issuer(), `"shop"`, `1e300`, "")),
		"exp null":       w.forge(head(""), body(w.issuer(), `"shop"`, `null`, "")),
		"expired":        w.forge(head(""), body(w.issuer(), `"shop"`, fmt.Sprint(now-31), "")),
		"nbf ahead":      w.forge(head(""), body(w.issuer(), `"shop"`, soon, fmt.Sprintf(`,"nbf":%d`, now+40))),
		"two subs":       w.forge(head(""), body(w.issuer(), `"shop"`, soon, `,"sub":"admin"`)),
		"no sub":         w.forge(head(""), `{"iss":"`+w.issuer()+`","aud":"shop","exp":`+soon+`}`),
		"roles a string": w.forge(head(""), body(w.issuer(), `"shop"`, soon, `,"roles":"admin"`)),
		"not JSON":       w.forge(head(""), `sub=alice`),
		"an array":       w.forge(head(""), `[]`),
		"ID token":       w.tokens("web", "openid").Extra("id_token").(string),
		"JWE":            b64(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647}`) + ".a.b.c.d",
		"a million dots": strings.Repeat(".", 1_000_000),
		"10 MB":          strings.Repeat("a", 10<<20),
		"empty":          "",
		"line break":     w.forge(head(""), good) + "\n",
		"padding":        w.forge(head(""), good) + "=",
	} {
		if claims, err := w.verifier.Verify(t.Context(), token); err == nil {
			t.Errorf("%s: accepted as %+v", name, claims)
		}
	}
	for name, token := range map[string]string{
		"just expired": w.forge(head(""), body(w.issuer(), `"shop"`, fmt.Sprint(now-20), "")),
		"nbf near":     w.forge(head(""), body(w.issuer(), `"shop"`, soon, fmt.Sprintf(`,"nbf":%d`, now+20))),
		"two auds":     w.forge(head(""), body(w.issuer(), `["other","shop"]`, soon, "")),
		"long typ":     w.forge(`{"alg":"ES256","typ":"application/at+JWT","kid":"`+kid+`"}`, good),
	} {
		if _, err := w.verifier.Verify(t.Context(), token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hs256 is the confusion attack: the public key as an HMAC secret.
func hs256(w *world, kid, claims string) string {
	public, err := json.Marshal(w.mint.keys.public().Keys[0])
	if err != nil {
		w.t.Fatal(err)
	}
	input := b64(`{"alg":"HS256","typ":"at+jwt","kid":"`+kid+`"}`) + "." + b64(claims)
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(input))
	return input + "." + b64(string(mac.Sum(nil)))
}

// selfSigned carries its own key in the header.
func selfSigned(t *testing.T, claims string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := sign(signer, json.RawMessage(claims), nil)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestRefusingCostsNoMemory(t *testing.T) {
	w := newWorld(t)
	huge := strings.Repeat("a.", 5<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := w.verifier.Verify(t.Context(), huge)
	runtime.ReadMemStats(&after)
	if err == nil || after.TotalAlloc-before.TotalAlloc > 1<<20 {
		t.Errorf("%v, %d bytes allocated", err, after.TotalAlloc-before.TotalAlloc)
	}
}

// A token that was good is looked at again when its time is over, and when it
// is revoked.
func TestCachedTokenExpires(t *testing.T) {
	w := newWorld(t)
	token, err := w.Issue(t.Context(), TokenRequest{User: "alice", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := w.verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	claims.Expires = time.Now().Add(-leeway) // the cache's own copy
	if _, err := w.verifier.Verify(t.Context(), token); err == nil {
		t.Error("a cached token outlived its expiry")
	}
}

func TestAuthorizationRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	challenge := oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())
	ask := func(change func(url.Values)) (page int, back url.Values) {
		v := url.Values{"client_id": {"web"}, "redirect_uri": {"https://web.example/cb"}, "response_type": {"code"}, "scope": {"openid"},
			"state": {"s"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
		change(v)
		r, _ := w.get(w.endpoint("/authorize?") + v.Encode())
		if r.StatusCode == http.StatusSeeOther {
			return 0, w.sentTo(r)
		}
		return r.StatusCode, nil
	}
	if page, _ := ask(func(url.Values) {}); page != 200 {
		t.Fatalf("a good request: %d", page)
	}
	for _, redirect := range []string{
		"", "https://web.example/cb/", "https://web.example/cb?x=1", "https://web.example/cb#f", "https://web.example/cbx", "https://web.example@evil/cb",
		"https://web.example.evil/cb", "http://web.example/cb", "https://WEB.example/cb", "https://web.example:443/cb",
		"http://127.0.0.1:3000/cb", "http://127.0.0.1:3000/cb?x=2", "http://127.0.0.1:3000/cb?x=1&y=2", "http://127.0.0.1:80@evil/cb?x=1",
		"http://127.0.0.1:@evil/cb?x=1", "http://127.0.0.1.evil/cb?x=1", "http://127.0.0.1:999999/cb?x=1", "http://localhost:3000/cb?x=1", "javascript:alert(1)",
	} {
		if page, back := ask(func(v url.Values) { v.Set("redirect_uri", redirect) }); page != 400 {
			t.Errorf("redirect %q: %d %v", redirect, page, back)
		}
	}
	if page, _ := ask(func(v url.Values) { v.Set("redirect_uri", "http://127.0.0.1:41234/cb?x=1") }); page != 200 {
		t.Errorf("another port on loopback: %d", page)
	}
	if page, _ := ask(func(v url.Values) { v.Set("client_id", "nobody") }); page != 400 {
		t.Errorf("an unknown client: %d", page)
	}
	for want, change := range map[string]func(url.Values){
		"invalid_request no challenge":  func(v url.Values) { v.Del("code_challenge") },
		"invalid_request plain":         func(v url.Values) { v.Set("code_challenge_method", "plain") },
		"invalid_request no method":     func(v url.Values) { v.Del("code_challenge_method") },
		"invalid_request short":         func(v url.Values) { v.Set("code_challenge", "abc") },
		"invalid_request twice":         func(v url.Values) { v.Add("scope", "email") },
		"invalid_request fragment":      func(v url.Values) { v.Set("response_mode", "fragment") },
		"invalid_request none+login":    func(v url.Values) { v.Set("prompt", "none login") },
		"invalid_request max_age":       func(v url.Values) { v.Set("max_age", "-1") },
		"unsupported_response_type tok": func(v url.Values) { v.Set("response_type", "token") },
		"unsupported_response_type hyb": func(v url.Values) { v.Set("response_type", "code id_token") },
		"request_not_supported":         func(v url.Values) { v.Set("request", "x.y.z") },
		"request_uri_not_supported":     func(v url.Values) { v.Set("request_uri", "http://x") },
		"login_required":                func(v url.Values) { v.Set("prompt", "none") },
	} {
		code, _, _ := strings.Cut(want, " ")
		if page, back := ask(change); back.Get("error") != code || back.Get("state") != "s" || back.Get("iss") != w.issuer() || back.Has("code") {
			t.Errorf("%s: page %d, back %v", want, page, back)
		}
	}
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	code := func(verifier string) url.Values {
		config := w.oauth("web", "openid")
		back := w.signInAs("alice", config.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "login")))
		return url.Values{"grant_type": {grantCode}, "code": {back.Get("code")}, "redirect_uri": {config.RedirectURL}}
	}
	verifier := oauth2.GenerateVerifier()
	with := func(v url.Values, pairs ...string) url.Values {
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}
	web, none := w.as("web"), func(*http.Request) {}
	for _, tt := range []struct {
		name string
		form url.Values
		as   func(*http.Request)
		want string
	}{
		{"no verifier", code(verifier), web, "invalid_grant"},
		{"wrong verifier", with(code(verifier), "code_verifier", oauth2.GenerateVerifier()), web, "invalid_grant"},
		{"other redirect", with(code(verifier), "code_verifier", verifier, "redirect_uri", "https://web.example/other"), web, "invalid_grant"},
		{"other client", with(code(verifier), "code_verifier", verifier), w.as("cart"), "invalid_grant"},
		{"public client for it", with(code(verifier), "code_verifier", verifier, "client_id", "spa"), none, "invalid_grant"},
		{"no client", with(code(verifier), "code_verifier", verifier), none, "invalid_client"},
		{"no secret", with(code(verifier), "code_verifier", verifier, "client_id", "web"), none, "invalid_client"},
		{"wrong secret", url.Values{"grant_type": {grantClient}}, func(r *http.Request) { r.SetBasicAuth("cart", "x") }, "invalid_client"},
		{"public credentials", url.Values{"grant_type": {grantClient}, "client_id": {"spa"}}, none, "unauthorized_client"},
		{"two ways", url.Values{"grant_type": {grantClient}, "client_id": {"cart"}, "client_secret": {"x"}}, w.as("cart"), "invalid_request"},
		{"scope", url.Values{"grant_type": {grantClient}, "scope": {"admin"}}, w.as("cart"), "invalid_scope"},
		{"password", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"x"}}, web, "unsupported_grant_type"},
		{"nothing", url.Values{}, web, "invalid_request"},
		{"twice", url.Values{"grant_type": {grantClient, grantClient}}, w.as("cart"), "invalid_request"},
		{"refresh", url.Values{"grant_type": {grantRefresh}, "refresh_token": {"a.b"}}, web, "invalid_grant"},
		{"device", url.Values{"grant_type": {grantDevice}, "device_code": {"x"}}, web, "expired_token"},
		{"json", url.Values{"grant_type": {grantClient}}, func(r *http.Request) { w.as("cart")(r); r.Header.Set("Content-Type", "application/json") }, "invalid_request"},
		{"query", url.Values{"grant_type": {grantClient}}, func(r *http.Request) { w.as("cart")(r); r.URL.RawQuery = "scope=x" }, "invalid_request"},
	} {
		status, answer := w.form("/token", tt.form, tt.as)
		if answer["error"] != tt.want || status < 400 || answer["access_token"] != nil {
			t.Errorf("%s: %d %v, want %s", tt.name, status, answer, tt.want)
		}
	}
}

// TestParametersThatAreMissing: what is not there is the request's fault, and not
// that of a code or token that is no good.
func TestParametersThatAreMissing(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		path, missing string
		form          url.Values
	}{
		{"/token", "code", url.Values{"grant_type": {grantCode}}},
		{"/token", "code", url.Values{"grant_type": {grantCode}, "code": {""}}},
		{"/token", "refresh_token", url.Values{"grant_type": {grantRefresh}}},
		{"/token", "device_code", url.Values{"grant_type": {grantDevice}}},
		{"/introspect", "token", url.Values{}},
		{"/revoke", "token", url.Values{"token_type_hint": {"access_token"}}},
	} {
		status, answer := w.form(tt.path, tt.form, w.as("web"))
		if status != http.StatusBadRequest || answer["error"] != "invalid_request" || answer["error_description"] != "there is no "+tt.missing {
			t.Errorf("%s without %s: %d %v", tt.path, tt.missing, status, answer)
		}
	}
	if status, answer := w.form("/introspect", url.Values{"client_id": {"nobody"}}); status != http.StatusUnauthorized {
		t.Errorf("an unknown client is told more than that: %d %v", status, answer)
	}
}

// TestDescriptionsHaveTheirLetters: RFC 6749 section 5.2 permits neither the double
// quote nor the backslash in error_description.
func TestDescriptionsHaveTheirLetters(t *testing.T) {
	w := newWorld(t)
	refresh := w.tokens("web", "openid", "offline_access").RefreshToken
	if err := w.Update(w.config.Users[1:], w.config.Clients); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		form url.Values
		want string
	}{
		{url.Values{"grant_type": {grantClient}, "scope": {"nope"}}, "the client has no scope 'nope'; it has: orders"},
		{url.Values{"grant_type": {grantClient}, "scope": {"\"\\é"}}, "the client has no scope ''??'; it has: orders"},
		{url.Values{"grant_type": {grantRefresh}, "refresh_token": {refresh}, "scope": {"nope"}}, "the scope 'nope' was not granted"},
		{url.Values{"grant_type": {grantRefresh}, "refresh_token": {refresh}}, "identity: there is no user 'alice'; there are: admin"},
	} {
		if _, answer := w.form("/token", tt.form, w.as("web")); answer["error_description"] != tt.want {
			t.Errorf("%v: %v", tt.form, answer)
		}
	}
}

func TestPagesAreGuarded(t *testing.T) {
	w := newWorld(t)
	r, page := w.get(w.oauth("web", "openid").AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(page, "<script") {
		t.Errorf("the sign-in page: %q", csp)
	}
	request := requestField.FindStringSubmatch(page)[1]
	post := func(header, value, host string) int {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, w.endpoint("/signin"), strings.NewReader(url.Values{"request": {request}, "user": {"alice"}}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set(header, value)
		req.Host = host
		res, err := w.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res)
		return res.StatusCode
	}
	own := w.server.Listener.Addr().String()
	for name, got := range map[string]int{
		"cross-site":   post("Sec-Fetch-Site", "cross-site", own),
		"other origin": post("Origin", "http://evil.example", own),
		"null origin":  post("Origin", "null", own),
		"other host":   post("X-A", "b", "evil.example"),
		"zero host":    post("X-A", "b", "0.0.0.0"),
	} {
		if got != http.StatusForbidden {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := post("X-A", "b", own); got != http.StatusSeeOther {
		t.Errorf("the page itself: %d", got)
	}
	if _, page := w.get(w.endpoint("/end_session")); !strings.Contains(page, `action="signout"`) {
		t.Error("a logout without a hint does not ask")
	}
	if r, _ := w.get(w.endpoint("/end_session?client_id=web&post_logout_redirect_uri=https://evil.example/")); r.StatusCode != http.StatusBadRequest {
		t.Errorf("a logout to elsewhere: %d", r.StatusCode)
	}
}

// TestDoubleClickOnSignOut: the browser follows the answer to its second click.
func TestDoubleClickOnSignOut(t *testing.T) {
	w := newWorld(t)
	back := w.oauth("web").RedirectURL
	_, page := w.get(w.endpoint("/end_session?client_id=web&post_logout_redirect_uri=") + url.QueryEscape(back))
	form := url.Values{"request": requestField.FindStringSubmatch(page)[1:]}
	for _, click := range []string{"first", "second"} {
		r, err := w.browser.PostForm(w.endpoint("/signout"), form)
		if err != nil {
			t.Fatal(err)
		}
		if readAll(t, r); r.Header.Get("Location") != back {
			t.Errorf("the %s click: %d %v", click, r.StatusCode, r.Header)
		}
	}
}

// TestDoubleClick: the browser follows the answer to its second click, which is the
// first one's. Nobody else gets it, and not for long.
func TestDoubleClick(t *testing.T) {
	w := newWorld(t)
	config, pkce := w.oauth("web", "openid"), oauth2.GenerateVerifier()
	_, page := w.get(config.AuthCodeURL("s", oauth2.S256ChallengeOption(pkce)))
	request := requestField.FindStringSubmatch(page)[1]
	click := func(browser *http.Client, user string) (int, url.Values) {
		r, err := browser.PostForm(w.endpoint("/signin"), url.Values{"request": {request}, "user": {user}})
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, r)
		if r.StatusCode != http.StatusSeeOther {
			return r.StatusCode, nil
		}
		return r.StatusCode, w.sentTo(r)
	}
	other := *w.browser
	other.Jar = nil
	address, err := url.Parse(w.endpoint("/"))
	if err != nil {
		t.Fatal(err)
	}
	before := w.browser.Jar.Cookies(address)
	_, first := click(w.browser, "alice")
	jar, err := cookiejar.New(nil) // the browser gave the first answer up with its cookies
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(address, before)
	w.browser.Jar = jar
	if status, second := click(w.browser, "alice"); first.Get("code") == "" || second.Encode() != first.Encode() {
		t.Errorf("the second click: %d %v, the first: %v", status, second, first)
	}
	if r, _ := w.get(config.AuthCodeURL("s", oauth2.S256ChallengeOption(pkce), oauth2.SetAuthURLParam("prompt", "none"))); w.sentTo(r).Get("code") == "" {
		t.Errorf("the second answer has no session: %s", r.Header.Get("Location"))
	}
	for name, browser := range map[string]*http.Client{"another browser": &other, "another user": w.browser} {
		user := map[string]string{"another browser": "alice", "another user": "admin"}[name]
		if status, back := click(browser, user); status != http.StatusBadRequest {
			t.Errorf("%s: %d %v", name, status, back)
		}
	}
	redeem := url.Values{"grant_type": {grantCode}, "code": {first.Get("code")}, "redirect_uri": {config.RedirectURL}, "code_verifier": {pkce}}
	if status, answer := w.form("/token", redeem, w.as("web")); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	if status, back := click(w.browser, "alice"); back.Get("code") == "" || back.Get("code") == first.Get("code") {
		t.Errorf("after the code was redeemed: %d %v", status, back)
	}
	if status, answer := w.form("/token", redeem, w.as("web")); status != http.StatusBadRequest {
		t.Errorf("the code works twice: %v", answer)
	}
	req, ok := w.pending.get(request)
	if !ok {
		t.Fatal("the form is forgotten")
	}
	signedIn := req.page.session.authTime
	req.page.session.authTime = signedIn.Add(-doubleClick)
	if status, back := click(w.browser, "alice"); status != http.StatusBadRequest {
		t.Errorf("later: %d %v", status, back)
	}
	req.page.session.authTime = signedIn
	if r, err := w.browser.PostForm(w.endpoint("/signout"), nil); err != nil || readAll(t, r) == "" {
		t.Fatal(err)
	}
	if status, back := click(w.browser, "alice"); status != http.StatusBadRequest {
		t.Errorf("after a sign-out: %d %v", status, back)
	}
}

func TestManyClicksAtOnce(t *testing.T) {
	w := newWorld(t)
	_, page := w.get(w.oauth("web", "openid").AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	form := url.Values{"request": requestField.FindStringSubmatch(page)[1:2], "user": {"alice"}}
	var locations sync.Map
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if r, err := w.browser.PostForm(w.endpoint("/signin"), form); err == nil {
				r.Body.Close()
				locations.Store(r.Header.Get("Location"), true)
			}
		})
	}
	all.Wait()
	n := 0
	for location := range locations.Range {
		if n++; location == "" {
			t.Error("a click led nowhere")
		}
	}
	if n != 1 {
		t.Errorf("%d answers to one form", n)
	}
}

func TestWhereALogoutMayLead(t *testing.T) {
	c := &Client{RedirectURIs: []string{"http://127.0.0.1/callback", "https://web.example/cb"}}
	for uri, want := range map[string]bool{
		"http://127.0.0.1:5555/":              true,
		"http://127.0.0.1:5555":               true,
		"http://127.0.0.1/bye?x=1":            true,
		"https://web.example/bye":             true,
		"http://localhost:5555/":              false,
		"http://[::1]:5555/":                  false,
		"https://127.0.0.1:5555/":             false,
		"https://web.example:444/bye":         false,
		"http://127.0.0.1:5555@evil.example/": false,
		"http://127.0.0.1.evil.example/":      false,
		"http://127.0.0.1:999999/":            false,
		"http://127.0.0.1:5555/#x":            false,
		"http://127.0.0.1:5555\\@evil/":       false,
		"//127.0.0.1:5555/":                   false,
	} {
		if got := c.logoutAllowed(uri); got != want {
			t.Errorf("%s: %v", uri, got)
		}
	}
}

func TestExpiringIsBounded(t *testing.T) {
	e := newExpiring[int](time.Hour, 10)
	var keys []string
	for i := range 25 {
		keys = append(keys, e.put(i))
	}
	if _, ok := e.get(keys[0]); ok || len(e.items) > 10 || len(e.order) > 10 {
		t.Errorf("%d items, %d in order", len(e.items), len(e.order))
	}
	if v, ok := e.take(keys[24]); !ok || v != 24 {
		t.Error("the newest is gone")
	}
	if _, ok := e.take(keys[24]); ok {
		t.Error("taken twice")
	}
}

func FuzzVerify(f *testing.F) {
	p, err := New(testConfig(f.TempDir(), "http://127.0.0.1:1"))
	if err != nil {
		f.Fatal(err)
	}
	good, err := p.Issue(f.Context(), TokenRequest{User: "alice"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(b64(`{"alg":"none"}`) + "..")
	f.Fuzz(func(t *testing.T, token string) {
		if claims, err := p.verifier.Verify(t.Context(), token); err == nil && token != good {
			t.Errorf("%q was accepted as %+v", token, claims)
		}
	})
}

func FuzzRedirect(f *testing.F) {
	f.Add("http://127.0.0.1:80@evil/cb")
	f.Add("http://127.0.0.1:8080/cb")
	c := &Client{RedirectURIs: []string{"http://127.0.0.1/cb", "https://web.example/cb"}}
	f.Fuzz(func(t *testing.T, uri string) {
		if !c.redirectAllowed(uri) {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.User != nil || u.Path != "/cb" || u.RawQuery != "" || (u.Hostname() != "127.0.0.1" && uri != "https://web.example/cb") {
			t.Errorf("%q was allowed", uri)
		}
	})
}

func BenchmarkVerifyCached(b *testing.B) {
	p, err := New(testConfig(b.TempDir(), "http://127.0.0.1:1"))
	if err != nil {
		b.Fatal(err)
	}
	token, err := p.Issue(b.Context(), TokenRequest{User: "alice"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.verifier.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyNew(b *testing.B) {
	p, err := New(testConfig(b.TempDir(), "http://127.0.0.1:1"))
	if err != nil {
		b.Fatal(err)
	}
	token, err := p.Issue(b.Context(), TokenRequest{User: "alice"})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.verifier.verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	p, err := New(testConfig(b.TempDir(), "http://127.0.0.1:1"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Issue(b.Context(), TokenRequest{User: "alice"}); err != nil {
			b.Fatal(err)
		}
	}
}
