package devgateway

import (
	"net/http"
	"strings"
	"testing"
)

const upgrade = "Connection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"

// browse sends what a browser would, with the head that it says it by. A service
// that is reached answers 200, to a handshake too.
func (r *rig) browse(method, head string) reply {
	r.t.Helper()
	return r.raw(method + " /x HTTP/1.1\nHost: " + r.addr + "\n" + head + "\n")
}

// A page of another origin has the browser change nothing and open no WebSocket, with
// a route that asks for no token; what the gateway's own pages do goes on.
func TestPagesOfOtherOrigins(t *testing.T) {
	for scheme, r := range map[string]*rig{"http": newRig(t, Config{}, open1...), "https": newTLSRig(t, Config{}, open1...)} {
		r.SetInstances(one("s", upstream(t, seen)))
		own := scheme + "://" + r.addr
		for _, tt := range []struct {
			head   string
			status int
		}{
			{"", 200},
			{"Origin: " + own + "\n", 200},
			{"Origin: " + own + "\nSec-Fetch-Site: same-origin\n", 200},
			{"Sec-Fetch-Site: none\n", 200},
			{"Origin: http://evil.example\n", 403},
			{"Origin: http://evil.example\nSec-Fetch-Site: cross-site\n", 403},
			{"Origin: null\n", 403},
			{"Origin: null\nSec-Fetch-Site: cross-site\n", 403},
			{"Origin: http://localhost:1\nSec-Fetch-Site: same-site\n", 403},
			{"Origin: " + own + ".evil.example\n", 403},
			{"Origin: %zz\n", 403},
			{"Sec-Fetch-Site: cross-site\n", 403},
		} {
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "ODD"} {
				if got := r.browse(method, tt.head+"Content-Length: 0\n"); got.StatusCode != tt.status {
					t.Errorf("%s: %s with %q: %d, want %d", scheme, method, tt.head, got.StatusCode, tt.status)
				}
			}
			if got := r.browse("GET", upgrade+tt.head); got.StatusCode != tt.status {
				t.Errorf("%s: a WebSocket with %q: %d, want %d", scheme, tt.head, got.StatusCode, tt.status)
			}
			if got := r.browse("GET", tt.head); got.StatusCode != 200 {
				t.Errorf("%s: GET with %q: %d", scheme, tt.head, got.StatusCode)
			}
		}
	}
}

func TestPagesOfOtherOriginsOverHTTP2(t *testing.T) {
	r := newTLSRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, seen)))
	r.client = r.h2
	for origin, want := range map[string]int{r.url: 200, "https://evil.example": 403, "null": 403} {
		if got := r.do("POST", "/x", strings.NewReader("x"), "Origin", origin); got.ProtoMajor != 2 || got.StatusCode != want {
			t.Errorf("%s: %s %d, want %d", origin, got.Proto, got.StatusCode, want)
		}
	}
}

func TestForeignPagesLearnWhatToDo(t *testing.T) {
	r := newRig(t, Config{}, open1...)
	got := r.do("POST", "/x", nil, "Origin", "http://localhost:5173")
	for _, part := range []string{"http://localhost:5173", "gateway.cors in mesh.yaml", `"status":403`} {
		if !strings.Contains(got.body, part) {
			t.Errorf("%s is not in %s", part, got.body)
		}
	}
	if got.Header.Get("Content-Type") != "application/problem+json" {
		t.Error(got.Header)
	}
	got = r.do("POST", "/x", nil, "Origin", "http://localhost:5173", "Content-Type", "application/grpc-web")
	if got.Header.Get("Grpc-Status") != "7" {
		t.Errorf("gRPC-Web: %v", got.Header)
	}
}

// An origin that the workspace names may do what the gateway's own may.
func TestPagesOfNamedOrigins(t *testing.T) {
	const page = "http://localhost:5173"
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, seen)))
	for _, tt := range []struct {
		named, origin string
		status        int
	}{
		{page, page, 200}, {page, "http://localhost:5174", 403}, {page, "https://localhost:5173", 403}, {page, "null", 403},
		{"*", "http://any.example", 200}, {"*", "null", 200},
	} {
		r.setCORS(CORS{Origins: []string{tt.named}})
		head := "Origin: " + tt.origin + "\nSec-Fetch-Site: cross-site\n"
		if got := r.browse("POST", head+"Content-Length: 0\n"); got.StatusCode != tt.status {
			t.Errorf("%s where %s may: %d, want %d", tt.origin, tt.named, got.StatusCode, tt.status)
		}
		if got := r.browse("GET", head+upgrade); got.StatusCode != tt.status {
			t.Errorf("a WebSocket of %s where %s may: %d, want %d", tt.origin, tt.named, got.StatusCode, tt.status)
		}
	}
}

// What says nothing of an origin, as programs' requests do, pays nothing for the look.
func TestLookingForAnOriginAllocatesNothing(t *testing.T) {
	g := New(Config{})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { _ = g.foreign(r, nil) }); n != 0 {
			t.Errorf("%s: %v allocations", method, n)
		}
	}
}

// A wish to upgrade says nothing over HTTP/1.0 (RFC 9110, 7.8).
func TestNoUpgradeFromHTTP10(t *testing.T) {
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, seen)))
	got := r.raw("GET /x HTTP/1.0\nHost: " + r.addr + "\n" + upgrade + "\n")
	if got.StatusCode != http.StatusOK || got.Header.Get("Seen-Upgrade") != "" {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}
