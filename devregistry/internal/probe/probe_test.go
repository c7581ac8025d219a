package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func expect(t *testing.T, target *Target, want Status, text string) {
	t.Helper()
	if target.Reach == nil {
		target.Reach = Loopback()
	}
	if got, output := target.Run(t.Context()); got != want || !strings.Contains(output, text) {
		t.Errorf("%s %s%s%s: %s %q, want %s with %q", target.Kind(), target.HTTP, target.TCP, target.GRPC, got, output, want, text)
	}
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestHTTP(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/broken":
			w.WriteHeader(http.StatusBadGateway)
		case "/elsewhere":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/long":
			w.Write([]byte(strings.Repeat("x", 2*MaxOutput)))
		case "/binary":
			w.Write([]byte{0xff, 0xfe})
		}
		w.Write([]byte(r.Method + " " + r.Host + " " + r.Header.Get("X-Team") + " " + r.UserAgent()))
	})
	expect(t, &Target{HTTP: url, Method: "GET"}, Passing, "200 OK Output: GET")
	expect(t, &Target{HTTP: url + "/busy", Method: "GET"}, Warning, "429")
	expect(t, &Target{HTTP: url + "/broken", Method: "GET"}, Critical, "502")
	expect(t, &Target{HTTP: url + "/elsewhere", Method: "GET"}, Passing, "200 OK")
	expect(t, &Target{HTTP: url + "/elsewhere", Method: "GET", StayThere: true}, Critical, "302")
	expect(t, &Target{HTTP: url + "/binary", Method: "GET"}, Passing, "\uFFFD")
	expect(t, &Target{HTTP: url, Method: "POST", Header: http.Header{"x-team": {"a"}, "host": {"shop.test"}}}, Passing, "POST shop.test a Consul Health Check")
	expect(t, &Target{HTTP: "http://127.0.0.1:1", Method: "GET"}, Critical, "refused")
	if _, output := (&Target{HTTP: url + "/long", Method: "GET", Reach: Loopback()}).Run(t.Context()); len(output) != MaxOutput {
		t.Errorf("kept %d bytes of a long answer", len(output))
	}
}

func TestHTTPS(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	expect(t, &Target{HTTP: s.URL, Method: "GET"}, Critical, "certificate")
	expect(t, &Target{HTTP: s.URL, Method: "GET", SkipVerify: true}, Critical, "404")
	address := strings.TrimPrefix(s.URL, "https://")
	expect(t, &Target{TCP: address, TLS: true}, Critical, "certificate")
	expect(t, &Target{TCP: address, TLS: true, SkipVerify: true}, Passing, "Success")
}

func TestSlowAnswers(t *testing.T) {
	release := make(chan struct{})
	url := server(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	expect(t, &Target{HTTP: url, Method: "GET", Timeout: time.Millisecond}, Critical, "deadline exceeded")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if status, _ := (&Target{HTTP: url, Method: "GET", Reach: Loopback()}).Run(ctx); status != Critical {
		t.Error("passing though it was given up")
	}
}

func TestTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	expect(t, &Target{TCP: ln.Addr().String()}, Passing, "Success")
	expect(t, &Target{TCP: "127.0.0.1:1"}, Critical, "refused")
}

func TestGRPC(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h, s := health.NewServer(), grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, h)
	done := make(chan error)
	go func() { done <- s.Serve(ln) }()
	defer func() { s.Stop(); <-done }()
	h.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	at := ln.Addr().String()
	expect(t, &Target{GRPC: at}, Passing, "success")
	expect(t, &Target{GRPC: at + "/shop.Cart"}, Critical, "not SERVING")
	expect(t, &Target{GRPC: at + "/none"}, Critical, `grpc-status "5"`)
	h.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_SERVING)
	expect(t, &Target{GRPC: at + "/shop.Cart"}, Passing, "success")
	expect(t, &Target{GRPC: at, TLS: true}, Critical, "gRPC check")
}

// TestReach: what is out of reach gets no connection, whether it is named, is what
// a name leads to, or what a redirect leads to.
func TestReach(t *testing.T) {
	var reached atomic.Int32
	secret := server(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(secret, "http://"))
	elsewhere := Reach{netip.MustParsePrefix("10.89.0.0/16")}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0"} {
		at := host + ":" + port
		for _, target := range []*Target{{HTTP: "http://" + at, Method: "GET"}, {TCP: at}, {GRPC: at}} {
			target.Reach = elsewhere
			if status, output := target.Run(t.Context()); status != Critical {
				t.Errorf("%s %s: %s %s", target.Kind(), at, status, output)
			}
		}
	}
	hop := httptest.NewUnstartedServer(http.RedirectHandler(secret, http.StatusFound))
	six, err := net.Listen("tcp", "[::1]:0")
	if err == nil {
		hop.Listener.Close()
		hop.Listener = six
		hop.Start()
		t.Cleanup(hop.Close)
		expect(t, &Target{HTTP: hop.URL, Method: "GET", Reach: Reach{netip.MustParsePrefix("::1/128")}}, Critical, "127.0.0.1 is out of reach")
	} else {
		hop.Listener.Close()
		t.Log("no IPv6 here: the redirect is not tried")
	}
	if n := reached.Load(); n > 0 {
		t.Errorf("%d requests arrived", n)
	}
}

func TestRefuse(t *testing.T) {
	for host, allowed := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "localhost": true, "shop.test": true,
		"169.254.169.254": false, "10.0.0.1": false, "0.0.0.0": false, "::": false, "fe80::1%lo": false, "192.168.1.1": false,
	} {
		if err := Loopback().Refuse(host); (err == nil) != allowed {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// TestNoProxy: a proxy of the environment would choose the address itself.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	if transport := (&Target{Reach: Loopback()}).transport(nil); transport.Proxy != nil {
		t.Error("a proxy is asked")
	}
}
