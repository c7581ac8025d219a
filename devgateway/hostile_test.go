package devgateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// open is a gateway with a guarded part and an open rest: whatever gets to
// the service under /admin without a token got there by a trick.
func open(t *testing.T) *rig {
	r := newRig(t, Config{},
		Route{Service: "s", Prefix: "/admin", Roles: []string{"admin"}},
		Route{Service: "s", Prefix: "/me"},
		Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, seen)))
	return r
}

func TestHostilePaths(t *testing.T) {
	r := open(t)
	for target, want := range map[string]int{
		"/admin%2fx": 400, "/admin%2Fx": 400, "/pub/%2e%2e/admin/x": 400, "/pub/.%2e/admin": 400, "/pub/..;/admin": 400,
		"/pub/..;x=1/admin": 400, "/pub/../admin": 400, "/./admin": 400, "/pub/..": 400, `/pub\admin`: 400, "/pub%5cadmin": 400,
		"/pub%00": 400, "/pub%0d%0aX:y": 400, "/%252e%252e/admin": 400, "/pub%252fadmin": 400, "/pub#frag": 400, "/pub%7f": 400,
		"//admin/x": 400, "/admin;x/y": 400, "/admin//x": 401, "/%61dmin/x": 401, "/admin": 401, "/me;jsessionid=1": 400, "/me/;a": 401,
		"/pub//x": 200, "/pub;a=b": 200, "/pub/a%20b": 200, "/pub/100%25": 200, "/pub/..x": 200, "/pub/...": 200, "/admins": 200, "*": 400,
		"/pub?x=%2e%2e%2fadmin": 200,
	} {
		got := r.raw("GET " + target + " HTTP/1.1\nHost: " + r.addr + "\nConnection: close\n\n")
		if got.StatusCode != want {
			t.Errorf("%s: %d, want %d", target, got.StatusCode, want)
		}
	}
}

func TestHostileHeaders(t *testing.T) {
	r := open(t)
	const me = "Authorization: Bearer alice\n"
	for _, tt := range []struct {
		head   string
		status int
		user   string
	}{
		{me, 200, "alice"},
		{me + "Connection: close, X-Forwarded-User\n", 200, "alice"},
		{me + "connection: close,x-FORWARDED-user, X-Forwarded-Groups\nX-Forwarded-User: mallory\n", 200, "alice"},
		{me + "X-Forwarded-User: mallory\nx-forwarded-user: mallory\nX-Forwarded-Groups: admin\n", 200, "alice"},
		{me + "X_Forwarded_User: mallory\n", 400, ""}, {me + "x-forwarded_groups: admin\n", 400, ""},
		{me + "X_Real_IP: 1.2.3.4\n", 400, ""}, {me + "My_Header: fine\n", 200, "alice"},
		{me + me, 400, ""},
		{me + "Upgrade: h2c\nConnection: Upgrade, HTTP2-Settings\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\n", 200, "alice"},
		{me + strings.Repeat("X-A: b\n", 101), 431, ""},
		{me + "X-Long: " + strings.Repeat("a", 64<<10) + "\n", 431, ""},
		{me + "Content-Length: 1\nContent-Length: 2\n", 400, ""}, {me + "Content-Length: -1\n", 400, ""},
		{me + "Transfer-Encoding: chunked, chunked\n", 400, ""}, {me + "Transfer-Encoding: xchunked\n", 400, ""},
		{me + "X-A : b\n", 400, ""}, {me + "X-A: b\x00c\n", 400, ""},
	} {
		got := r.raw("GET /me HTTP/1.1\nHost: " + r.addr + "\n" + tt.head + "\n")
		if got.StatusCode != tt.status || got.Header.Get("Seen-X-Forwarded-User") != tt.user {
			t.Errorf("%.60q: %d as %q, want %d as %q", tt.head, got.StatusCode, got.Header.Get("Seen-X-Forwarded-User"), tt.status, tt.user)
		}
		if got.Header.Get("Seen-Upgrade")+got.Header.Get("Seen-Http2-Settings") != "" {
			t.Errorf("%.60q: an upgrade was passed on", tt.head)
		}
		if groups := got.Header.Get("Seen-X-Forwarded-Groups"); strings.Contains(groups, "admin") {
			t.Errorf("%.60q: groups %q", tt.head, groups)
		}
	}
}

func TestForwardingHeadersAreTheGatewaysOwn(t *testing.T) {
	r := open(t)
	got := r.do("GET", "/", nil, "Forwarded", "for=1.2.3.4", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Host", "evil", "X-Forwarded-Proto", "https",
		"X-Real-IP", "1.2.3.4", "X-Original-URL", "/admin", "X-Rewrite-URL", "/admin", "X-Forwarded-Prefix", "/x", "X-Auth-Request-User", "root")
	for name, want := range map[string]string{
		"Forwarded": "", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": r.addr, "X-Forwarded-Proto": "http", "X-Real-Ip": "",
		"X-Original-Url": "", "X-Rewrite-Url": "", "X-Forwarded-Prefix": "", "X-Auth-Request-User": "", "X-Forwarded-User": "",
	} {
		if h := got.Header.Get("Seen-" + name); h != want {
			t.Errorf("%s arrived as %q, want %q", name, h, want)
		}
	}
}

func TestForeignIdentityHeadersAreRemoved(t *testing.T) {
	r := open(t)
	names := []string{"Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name", "X-Remote-User", "X-Auth-Request-User", "X-Auth-Request-Groups",
		"X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}
	for _, name := range names {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			got := r.raw("GET / HTTP/1.1\nHost: " + r.addr + "\n" + spelling + ": root\nConnection: close\n\n")
			if h := got.Header.Get("Seen-" + name); got.StatusCode != 200 || h != "" {
				t.Errorf("%s: %d, arrived as %q", spelling, got.StatusCode, h)
			}
		}
		underscored := strings.Replace(name, "-", "_", 1)
		if got := r.raw("GET / HTTP/1.1\nHost: " + r.addr + "\n" + underscored + ": root\nConnection: close\n\n"); got.StatusCode != 400 {
			t.Errorf("%s: %d", underscored, got.StatusCode)
		}
	}
}

func TestHosts(t *testing.T) {
	r := newRig(t, Config{Hosts: []string{"extra.example"}},
		Route{Service: "s", Prefix: "/", Host: "Shop.Example", Auth: AuthNone},
		Route{Service: "s", Prefix: "/guarded", Auth: AuthRequired})
	r.SetInstances(one("s", upstream(t, seen)))
	for host, want := range map[string]int{
		"shop.example": 200, "SHOP.example": 200, "shop.example.": 200, "shop.example:80": 200, "localhost:1": 404,
		"extra.example": 404, "127.0.0.1": 404, "[::1]:9": 404, "evil.example": 421, "shop.example.evil": 421, "0.0.0.0": 421,
		"shop.example@evil": 400, "shop.example/x": 400, "": 400, "a b": 400,
	} {
		if got := r.raw("GET / HTTP/1.1\nHost: " + host + "\n\n"); got.StatusCode != want {
			t.Errorf("%q: %d, want %d", host, got.StatusCode, want)
		}
	}
	for head, want := range map[string]int{
		"GET /guarded HTTP/1.0\n\n": 401, "GET /guarded HTTP/1.0\nHost: evil.example\n\n": 421, "GET http://evil.example/guarded HTTP/1.0\n\n": 421,
		"GET /guarded HTTP/1.1\n\n": 400, "GET http://shop.example HTTP/1.1\nHost: shop.example\n\n": 200, "GET http://shop.example?a HTTP/1.1\nHost: shop.example\n\n": 200,
	} {
		if got := r.raw(head); got.StatusCode != want {
			t.Errorf("%q: %d, want %d", head, got.StatusCode, want)
		}
	}
	if got := r.raw("GET / HTTP/1.1\nHost: shop.example\nHost: shop.example\n\n"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("two hosts: %d", got.StatusCode)
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone}, Route{Service: "s", Prefix: "/guarded", Methods: []string{"GET"}})
	r.SetInstances(one("s", upstream(t, seen)))
	for request, want := range map[string]int{
		"TRACE /x": 405, "CONNECT localhost:1": 405, "CONNECT /x": 405, "PRI /x": 405, "PRI *": 405,
		"get /guarded": 400, "Trace /x": 400, "pri /x": 400, "delete /x": 400,
		"FOO /x": 200, "foo /x": 200, "M-SEARCH /x": 200, "PROPFIND /x": 200, "G=T /x": 400,
	} {
		got := r.raw(request + " HTTP/1.1\nHost: " + r.addr + "\nConnection: close\n\n")
		method, _, _ := strings.Cut(request, " ")
		if got.StatusCode != want || want == 200 && got.Header.Get("Seen-Method") != method {
			t.Errorf("%s: %d as %q, want %d", request, got.StatusCode, got.Header.Get("Seen-Method"), want)
		}
	}
}

// Identity in a trailer of the request, and in anything that the service
// sends back, goes no further.
func TestIdentityInTrailersAnd1xx(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	trailers := make(chan http.Header, 1)
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		trailers <- req.Trailer
		w.Header().Set("X-Forwarded-User", "early")
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Forwarded-User, X-Sum")
		_, _ = io.WriteString(w, "hello")
		w.Header().Set("X-Forwarded-User", "late")
		w.Header().Set("X-Sum", "1")
	})))
	got := r.raw("POST / HTTP/1.1\nHost: " + r.addr + "\nTransfer-Encoding: chunked\nTrailer: X-Forwarded-User, X-Checksum\n\n" +
		"2\nhi\n0\nX-Forwarded-User: mallory\nX-Checksum: 7\nx-forwarded-groups: admin\nAuthorization: Bearer mallory\nContent-Length: 9\n\n")
	if got.StatusCode != http.StatusEarlyHints || got.Header.Get("X-Forwarded-User") != "" || got.Header.Get("Link") == "" {
		t.Errorf("1xx: %d %v", got.StatusCode, got.Header)
	}
	seen := <-trailers
	if seen.Get("X-Forwarded-User")+seen.Get("X-Forwarded-Groups")+seen.Get("Authorization")+seen.Get("Content-Length") != "" || seen.Get("X-Checksum") != "7" {
		t.Errorf("trailers: %v", seen)
	}
	whole := r.do("POST", "/", strings.NewReader("x"))
	<-trailers
	if whole.Header.Get("X-Forwarded-User")+whole.Trailer.Get("X-Forwarded-User") != "" || whole.Trailer.Get("X-Sum") != "1" {
		t.Errorf("answer: %v, trailers %v", whole.Header, whole.Trailer)
	}
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/admin%2fx", "/a/../b", "//x", "/;/x", "/%61", "/a/%2E%2e/b", "/."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		req, err := http.NewRequest(http.MethodGet, "http://localhost"+target, nil)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		req.RequestURI = target
		if !plainTarget(req) {
			return
		}
		for _, segment := range strings.Split(req.URL.Path, "/") {
			if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." || strings.ContainsAny(segment, "\\\x00") {
				t.Errorf("%q passed with segment %q", target, segment)
			}
		}
		if strings.Contains(strings.ToLower(req.URL.EscapedPath()), "%2f") {
			t.Errorf("%q passed with an encoded slash", target)
		}
	})
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, s string) {
		tr := newTrace(http.Header{"Traceparent": {s}})
		sent := tr.header()
		if again, ok := parseTraceparent([]string{sent}); !ok || again.id != tr.id {
			t.Errorf("%q became %v", s, sent)
		}
	})
}

func ExampleCompile() {
	_, err := Compile([]Route{
		{Service: "a", Prefix: "/x", Position: "a.yaml:4:5"},
		{Service: "b", Prefix: "/x", Methods: []string{"GET"}, Position: "b.yaml:4:5"},
		{Service: "c", Prefix: "/x", Methods: []string{"GET", "PUT"}, Position: "c.yaml:4:5"},
		{Service: "d", Path: "x", Position: "d.yaml:4:5"},
	})
	fmt.Println(err)
	// Output:
	// c.yaml:4:5: /x matches the same requests as the route at b.yaml:4:5
	// d.yaml:4:5: "x" is not a plain absolute path
}
