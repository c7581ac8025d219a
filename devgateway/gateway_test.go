package devgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRequestReachesItsService(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "cart", Prefix: "/cart/", Roles: []string{"customer"}})
	up := upstream(t, seen)
	for _, http2 := range []bool{false, true} {
		up.HTTP2 = http2
		r.SetInstances(one("cart", up))
		got := r.do("POST", "/cart/items?a=1%20b", strings.NewReader("{}"), "Authorization", "Bearer alice",
			"X-Forwarded-User", "mallory", "X-Request", "kept")
		if got.StatusCode != http.StatusOK || got.body != "hello" {
			t.Fatalf("answer: %s %q", got.Status, got.body)
		}
		for name, want := range map[string]string{
			"Seen-Target": "/cart/items?a=1%20b", "Seen-Method": "POST", "Seen-X-Request": "kept",
			"Seen-X-Forwarded-User": "alice", "Seen-X-Forwarded-Email": "alice@example.test",
			"Seen-X-Forwarded-Groups": "customer,beta", "Seen-X-Forwarded-For": "127.0.0.1",
			"Seen-X-Forwarded-Host": r.addr, "Seen-X-Forwarded-Proto": "http", "Seen-Authorization": "Bearer alice",
		} {
			if h := got.Header.Get(name); h != want {
				t.Errorf("HTTP2=%t: %s = %q, want %q", http2, name, h, want)
			}
		}
	}
}

func TestWhoMayPass(t *testing.T) {
	r := newRig(t, Config{Issuer: func() string { return "http://127.0.0.1:1" }},
		Route{Service: "s", Prefix: "/plain"}, // auth left out means required
		Route{Service: "s", Prefix: "/role", Roles: []string{"admin", "root"}},
		Route{Service: "s", Prefix: "/scope", Scopes: []string{"read", "write"}},
		Route{Service: "s", Prefix: "/optional", Auth: AuthOptional},
		Route{Service: "s", Prefix: "/optional-role", Auth: AuthOptional, Roles: []string{"admin"}},
		Route{Service: "s", Prefix: "/none", Auth: AuthNone},
	)
	r.SetInstances(one("s", upstream(t, seen)))
	for _, tt := range []struct {
		path, authorization string
		status              int
		challenge, user     string
	}{
		{"/plain", "", 401, "Bearer realm", ""},
		{"/plain", "Bearer alice", 200, "", "alice"},
		{"/plain", "bearer alice", 200, "", "alice"},
		{"/plain", "Bearer nobody", 401, `error="invalid_token"`, ""},
		{"/plain", "Bearer  alice", 200, "", "alice"},
		{"/plain", "Basic YTpi", 401, "Bearer realm", ""},
		{"/plain", "Bearer", 401, `error="invalid_request"`, ""},
		{"/role", "Bearer admin", 200, "", "admin"},
		{"/role", "Bearer alice", 403, `error="insufficient_scope"`, ""},
		{"/scope", "Bearer alice", 403, `scope="read write"`, ""},
		{"/optional", "", 200, "", ""},
		{"/optional", "Bearer alice", 200, "", "alice"},
		{"/optional", "Bearer nobody", 401, `error="invalid_token"`, ""},
		{"/optional-role", "", 401, "Bearer realm", ""},
		{"/none", "", 200, "", ""},
		{"/none", "Bearer nobody", 200, "", ""},
	} {
		var header []string
		if tt.authorization != "" {
			header = []string{"Authorization", tt.authorization}
		}
		got := r.do("GET", tt.path, nil, header...)
		if got.StatusCode != tt.status || got.Header.Get("Seen-X-Forwarded-User") != tt.user {
			t.Errorf("%s with %q: %d as %q, want %d as %q", tt.path, tt.authorization, got.StatusCode,
				got.Header.Get("Seen-X-Forwarded-User"), tt.status, tt.user)
		}
		if c := got.Header.Get("WWW-Authenticate"); !strings.Contains(c, tt.challenge) || tt.challenge == "" && c != "" || tt.challenge == "Bearer realm" && strings.Contains(c, "error=") {
			t.Errorf("%s with %q: challenge %q, want %q", tt.path, tt.authorization, c, tt.challenge)
		}
		if tt.status >= 400 && got.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: an error as %s", tt.path, got.Header.Get("Content-Type"))
		}
	}
}

func TestNobodyPassesWithoutAVerifier(t *testing.T) {
	g := New(Config{})
	_, p := g.authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer x"}}}, &compiled{Route: Route{Auth: AuthRequired}})
	if p == nil || p.status != 401 {
		t.Errorf("without a verifier: %+v", p)
	}
}

func TestProblems(t *testing.T) {
	r := newRig(t, Config{Why: func(string) string { return "it does not compile" }},
		Route{Service: "down", Prefix: "/down", Auth: AuthNone, Methods: []string{"POST", "PUT"}},
		Route{Service: "refusing", Prefix: "/refusing", Auth: AuthNone},
		Route{Service: "hanging", Prefix: "/hanging", Auth: AuthNone, Timeout: 20 * time.Millisecond},
		Route{Service: "breaking", Prefix: "/breaking", Auth: AuthNone},
		Route{Service: "small", Prefix: "/small", Auth: AuthNone, BodyLimit: 10},
	)
	hang := make(chan struct{})
	defer close(hang)
	r.SetInstances(map[string][]Instance{
		"refusing": {{ID: "r", Addr: "127.0.0.1:1"}},
		"hanging":  {upstream(t, func(http.ResponseWriter, *http.Request) { <-hang })},
		"breaking": {upstream(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
		"small":    {upstream(t, seen)},
	})
	for _, tt := range []struct {
		method, path string
		body         io.Reader
		status       int
		detail       string
	}{
		{"GET", "/nowhere", nil, 404, "no route for GET /nowhere"},
		{"GET", "/down", nil, 405, "does not take GET"},
		{"POST", "/down", nil, 503, "down has no healthy instance: it does not compile"},
		{"GET", "/refusing", nil, 503, "refusing takes no connection: connection refused"},
		{"GET", "/hanging", nil, 504, "hanging did not answer within 20ms"},
		{"GET", "/breaking", nil, 502, "breaking did not answer: it closed the connection"},
		{"POST", "/small", strings.NewReader("longer than ten"), 413, "larger than the route allows"},
		{"POST", "/small", io.MultiReader(strings.NewReader("longer than ten, in chunks")), 413, "larger than the route allows"},
	} {
		if tt.path == "/refusing" {
			r.hold = 10 * time.Millisecond
		}
		got := r.do(tt.method, tt.path, tt.body)
		var p problemBody
		if err := json.Unmarshal([]byte(got.body), &p); err != nil {
			t.Errorf("%s: %v in %q", tt.path, err, got.body)
		}
		if got.StatusCode != tt.status || p.Status != tt.status || !strings.Contains(p.Detail, tt.detail) || len(p.TraceID) != 32 {
			t.Errorf("%s %s: %d %+v; want %d %q", tt.method, tt.path, got.StatusCode, p, tt.status, tt.detail)
		}
		if tt.status == 405 && got.Header.Get("Allow") != "POST, PUT" {
			t.Errorf("Allow: %q", got.Header.Get("Allow"))
		}
	}
}

func TestRequestGoesToAnotherInstanceWhenOneRefuses(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", Instance{ID: "dead", Addr: "127.0.0.1:1"}, upstream(t, seen)))
	for range 20 {
		if got := r.do("POST", "/", strings.NewReader("body")); got.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", got.Status, got.body)
		}
	}
}

func TestRequestWaitsForAnInstanceThatIsExpected(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.hold = time.Minute
	r.SetInstances(one("s"))
	up := upstream(t, seen)
	done := make(chan int)
	go func() { done <- r.do("GET", "/", nil).StatusCode }()
	r.SetInstances(one("s", up))
	if status := <-done; status != 200 {
		t.Errorf("status %d", status)
	}
}

func TestPrefixIsStripped(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/api", StripPrefix: true, Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, seen)))
	for path, want := range map[string]string{
		"/api": "/", "/api/": "/", "/api/a%20b?q=/api": "/a%20b?q=/api", "/%61pi/x": "/x", "/api//x": "",
	} {
		got := r.do("GET", path, nil)
		if target := got.Header.Get("Seen-Target"); target != want && want != "" {
			t.Errorf("%s arrived as %q, want %q", path, target, want)
		}
	}
	for _, path := range []string{"/api..", "/api../admin", "/apis"} {
		if got := r.do("GET", path, nil); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, got.StatusCode)
		}
	}
}

func TestPrefixIsRewritten(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/e", Rewrite: "/api/v2", Auth: AuthNone}, Route{Service: "s", Prefix: "/below/", Rewrite: "/api/", Auth: AuthNone},
		Route{Service: "s", Prefix: "/root/", Rewrite: "/", Auth: AuthNone}, Route{Service: "s", Prefix: "/é", Rewrite: "/ü/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, seen)))
	for path, want := range map[string]string{
		"/e": "/api/v2", "/e/": "/api/v2/", "/e/a%20b?q=/e/": "/api/v2/a%20b?q=/e/", "/e/a%2Cb": "/api/v2/a%2Cb", "/%65/a%2Cb": "/api/v2/a,b",
		"/below/": "/api/", "/below/x/": "/api/x/", "/root/": "/", "/root/x": "/x", "/%C3%A9": "/%C3%BC/", "/%C3%A9/x": "/%C3%BC/x",
	} {
		if got := r.do("GET", path, nil).Header.Get("Seen-Target"); got != want {
			t.Errorf("%s arrived as %q, want %q", path, got, want)
		}
	}
	for path, want := range map[string]int{"/e..": 404, "/e../admin": 404, "/ex": 404, "/below": 404, "/e/../admin": 400, "/e/%2e%2e/admin": 400, "/e/..;/admin": 400} {
		if got := r.raw("GET " + path + " HTTP/1.1\nHost: localhost\n\n"); got.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, got.StatusCode, want)
		}
	}
}

func TestRecordsSayWhatHappened(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "cart", Prefix: "/cart"})
	up := upstream(t, seen)
	r.SetInstances(one("cart", up))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := r.do("POST", "/cart/x?secret=1", strings.NewReader("12345"), "Authorization", "Bearer alice",
		"Traceparent", parent, "Tracestate", "a=b")
	passed := got.Header.Get("Seen-Traceparent")
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.records[0]
	if !strings.HasPrefix(passed, parent[:36]) || !strings.Contains(passed, rec.SpanID) || got.Header.Get("Seen-Tracestate") != "a=b" {
		t.Errorf("traceparent %q, span %s", passed, rec.SpanID)
	}
	want := fmt.Sprintf("gateway cart /cart %s POST /cart/x 200 alice 5 5 %s %s", up.ID, parent[3:35], parent[36:52])
	have := fmt.Sprint(rec.Caller, " ", rec.Callee, " ", rec.Route, " ", rec.Instance, " ", rec.Method, " ", rec.Path, " ", rec.Status,
		" ", rec.Subject, " ", rec.RequestBytes, " ", rec.ResponseBytes, " ", rec.TraceID, " ", rec.ParentID)
	if have != want {
		t.Errorf("record:\n%s\nwant:\n%s", have, want)
	}
}

func TestTracesStartWhereNoneCame(t *testing.T) {
	for _, bad := range []string{"", "x", "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01",
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"} {
		if tr := newTrace(http.Header{"Traceparent": {bad}}); tr.came || tr.id == [16]byte{} || tr.span == 0 {
			t.Errorf("%q: %+v", bad, tr)
		}
	}
}

func TestTheGatewaysOwnPages(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Timeout: 2 * time.Second, Position: "a.yaml:3:5"})
	if got := r.do("GET", "/.mesh/health", nil); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "ok") {
		t.Errorf("health: %d %s", got.StatusCode, got.body)
	}
	got := r.do("GET", "/.mesh/routes", nil)
	if want := `[{"service":"s","prefix":"/","auth":"none","position":"a.yaml:3:5","timeout":2}]`; strings.TrimSpace(got.body) != want {
		t.Errorf("routes: %s", got.body)
	}
	if got := r.do("POST", "/.mesh/routes", nil); got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") != "GET, HEAD" || got.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("POST routes: %d", got.StatusCode)
	}
	if got := r.do("GET", "/.mesh/other", nil); got.StatusCode != http.StatusNotFound || got.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("other: %d", got.StatusCode)
	}
}

// TestNobodyWaitsForAPoolThatIsGone: a request that finds the pool of a service in
// the moment in which that loses its last instance waits for the pool that takes its
// place, and not for ever for this one.
func TestNobodyWaitsForAPoolThatIsGone(t *testing.T) {
	g := New(Config{})
	g.SetInstances("s", []Instance{{ID: "old", Addr: "127.0.0.1:1"}})
	found := g.poolOf("s")
	g.SetInstances("s", nil)
	select {
	case <-found.set.Load().changed:
	default:
		t.Error("nothing will ever change in the pool that is gone")
	}
	g.SetInstances("s", []Instance{{ID: "new", Addr: "127.0.0.1:2"}})
	if e := g.hold(t.Context(), "s", nil, time.Minute); e == nil || e.ID != "new" {
		t.Errorf("%+v", e)
	}
}

// keyless cannot look at any token.
type keyless struct{}

func (keyless) Verify(context.Context, string) (*Identity, error) {
	return nil, fmt.Errorf("%w: its issuer is away", ErrCannotVerify)
}

// TestATokenThatCannotBeVerified may be good: whoever sent it is told to come back,
// and not to get another one.
func TestATokenThatCannotBeVerified(t *testing.T) {
	r := newRig(t, Config{Verifier: keyless{}}, Route{Service: "s", Prefix: "/"})
	r.SetInstances(one("s", upstream(t, seen)))
	got := r.do("GET", "/", nil, "Authorization", "Bearer a.b.c")
	if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get("Www-Authenticate") != "" {
		t.Errorf("%s %v %s", got.Status, got.Header, got.body)
	}
}
