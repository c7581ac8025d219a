package devgateway

import (
	"bufio"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// devServer is a front end's development server: it answers to its own host alone,
// and reloads pages over a WebSocket.
func devServer(t *testing.T) (address string) {
	t.Helper()
	var host string
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host != host:
			http.Error(w, "this host is not allowed: "+r.Host, http.StatusForbidden)
		case r.URL.Path == "/@hmr":
			conn, _, _, err := ws.UpgradeHTTP(r, w)
			if err != nil {
				return
			}
			defer conn.Close()
			_ = wsutil.WriteServerText(conn, []byte("update"))
		case r.URL.Path == "/old":
			http.Redirect(w, r, "http://"+host+"/new?x=1", http.StatusFound)
		case r.URL.Path == "/to": // as it is, with the host for HOST
			w.Header().Set("Location", strings.ReplaceAll(r.URL.RawQuery, "HOST", host))
			w.WriteHeader(http.StatusFound)
		case r.URL.Path == "/away":
			http.Redirect(w, r, "https://elsewhere.example/new", http.StatusFound)
		default:
			seen(w, r)
		}
	})
	host = up.Addr
	return "http://" + up.Addr
}

func TestADevelopmentServerBehindTheSameOrigin(t *testing.T) {
	front := devServer(t)
	r := newRig(t, Config{}, Route{URL: front, Prefix: "/", Auth: AuthNone}, Route{Service: "api", Prefix: "/api/", Auth: AuthNone},
		Route{URL: front, Prefix: "/docs/", StripPrefix: true, Auth: AuthNone}, Route{URL: front, Prefix: "/guarded"},
		Route{URL: front, Prefix: "/app/", Rewrite: "/", Auth: AuthNone}, Route{URL: front, Prefix: "/v1", Rewrite: "/to", Auth: AuthNone})
	r.SetInstances(one("api", upstream(t, seen)))
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for path, want := range map[string]string{"/": "/", "/src/main.ts?t=1": "/src/main.ts?t=1", "/docs/a": "/a", "/api/x": "/api/x"} {
		if got := r.do("GET", path, nil); got.StatusCode != 200 || got.Header.Get("Seen-Target") != want {
			t.Errorf("%s: %s as %q", path, got.Status, got.Header.Get("Seen-Target"))
		}
	}
	for path, want := range map[string]string{"/old": "/new?x=1", "/docs/old": "/docs/new?x=1", "/away": "https://elsewhere.example/new",
		"/to?http://HOST": "/", "/docs/to?http://HOST": "/docs/", "/docs/to?HTTP://HOST/%2fa?b": "/docs/%2fa?b", "/docs/to?//HOST/a": "/docs/a",
		"/docs/to?/sub/": "/docs/sub/", "/docs/to?/docs/sub/": "/docs/sub/", "/docs/to?/docs": "/docs", "/docs/to?sub/": "sub/", "/to?/sub/": "/sub/",
		"/docs/to?https://HOST/a": "https://" + strings.TrimPrefix(front, "http://") + "/a", "/docs/to?//elsewhere.example/a": "//elsewhere.example/a",
		"/docs/to?http://HOST//elsewhere.example": "/docs/elsewhere.example", "/docs/to?mailto:a@b.example": "mailto:a@b.example",
		"/app/to?/sub/": "/app/sub/", "/v1?/to/a?b": "/v1/a?b", "/v1?http://HOST/to": "/v1", "/v1?/new": "/new", "/v1?http://HOST/new": "/new"} {
		if got := r.do("GET", path, nil).Header.Get("Location"); got != want {
			t.Errorf("%s leads to %s, want %s", path, got, want)
		}
	}
	if got := r.do("GET", "/guarded", nil); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", got.Status)
	}
	if got := r.do("GET", "/guarded", nil, "Authorization", "Bearer alice"); got.Header.Get("Seen-X-Forwarded-User") != "alice" || got.Header.Get("Seen-X-Forwarded-Host") != r.addr {
		t.Errorf("with a token: %s %v", got.Status, got.Header)
	}
	fromItsPage := ws.Dialer{Header: ws.HandshakeHeaderHTTP{"Origin": {r.url}, "Sec-Fetch-Site": {"same-origin"}}}
	conn, begun, _, err := fromItsPage.Dial(t.Context(), "ws://"+r.addr+"/@hmr")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var from io.ReadWriter = conn
	if begun != nil { // the first message came with the answer
		from = bufio.NewReadWriter(begun, bufio.NewWriter(conn))
	}
	if text, err := wsutil.ReadServerText(from); err != nil || string(text) != "update" {
		t.Errorf("%q %v", text, err)
	}
}

func TestAnOutsideURLThatIsDown(t *testing.T) {
	r := newRig(t, Config{}, Route{URL: "http://127.0.0.1:1", Prefix: "/", Auth: AuthNone})
	got := r.do("GET", "/", nil)
	if got.StatusCode != 503 || !strings.Contains(got.body, "http://127.0.0.1:1 takes no connection: connection refused") {
		t.Errorf("%s %s", got.Status, got.body)
	}
	r.SetTable(emptyTable())
	if r.poolOf("http://127.0.0.1:1") != nil {
		t.Error("still known when no route leads there any more")
	}
}

func TestAnOutsideURLWithTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(seen))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	r := newRig(t, Config{}, Route{URL: s.URL, Prefix: "/", Auth: AuthNone})
	if got := r.do("GET", "/", nil); got.StatusCode != 502 || !strings.Contains(got.body, "certificate") {
		t.Errorf("a certificate that nobody trusts: %s %s", got.Status, got.body)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	r.http1.CloseIdleConnections()
	r.trust(roots)
	if got := r.do("GET", "/x", nil); got.StatusCode != 200 || got.Header.Get("Seen-Target") != "/x" {
		t.Errorf("%s %s", got.Status, got.body)
	}
}

// TestALoopEnds: a URL that leads back to the gateway, by whatever way, is asked a few
// times and not for ever.
func TestALoopEnds(t *testing.T) {
	r := newRig(t, Config{})
	table, err := Compile([]Route{{Prefix: "/", URL: r.url, Auth: AuthNone}})
	if err != nil {
		t.Fatal(err)
	}
	r.SetTable(table)
	if got := r.do("GET", "/x", nil); got.StatusCode != http.StatusLoopDetected {
		t.Errorf("%s %s", got.Status, got.body)
	}
}

func TestSeenFromOutside(t *testing.T) {
	for _, tt := range []struct{ prefix, rewrite, path, want string }{
		{"/cart/", "/api", "/api", "/cart/"}, {"/cart/", "/api", "/api/x", "/cart/x"}, {"/cart", "/api", "/api", "/cart"}, {"/cart/", "/api", "/apix", "/apix"},
	} {
		c, err := compile(&Route{URL: "http://x.example", Prefix: tt.prefix, Rewrite: tt.rewrite, Auth: AuthNone})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.seenFromOutside(tt.path); got != tt.want {
			t.Errorf("%s for %s: %s leads to %s", tt.prefix, tt.rewrite, tt.path, got)
		}
	}
}
