package runtime

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/process/processtest"
)

func check(t *testing.T, name string, p probe, want string) {
	t.Helper()
	err := p.bounded(5 * time.Second)(t.Context())
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: got %v, want %q", name, err, want)
	}
}

// refuses is an address at which nothing listens. A port that a test has just closed is
// none: what is forked at that moment holds it for a while.
const refuses = "127.0.0.1:1"

func TestHTTPProbe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			http.Error(w, "database is down\nand more", http.StatusServiceUnavailable)
		case "/moved":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	at := func(addr, path string) probe { return newProbe(&manifest.Probe{HTTP: path}, addr, Launch{}, nil) }
	check(t, "good", at(addr, "/good"), "")
	check(t, "a redirect is an answer", at(addr, "/moved"), "")
	check(t, "bad", at(addr, "/bad"), "GET /bad answered 503 Service Unavailable database is down")
	check(t, "nobody", at(refuses, "/good"), "nothing listens on 127.0.0.1:")
	if err := at(addr, "/slow").bounded(20 * time.Millisecond)(t.Context()); err == nil || err.Error() != "no answer within 20ms" {
		t.Errorf("slow: %v", err)
	}
	if err := at(addr, "/slow").bounded(time.Hour)(cancelled(t)); err == nil {
		t.Error("a cancelled probe is well")
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestTCPAndCommandProbes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	run := Processes{processtest.Driver(t)}.Exec
	command := func(line string) probe {
		return newProbe(&manifest.Probe{Command: manifest.Command{Shell: line}}, "", Launch{Dir: t.TempDir(), Env: []string{"WORD=yes"}}, run)
	}
	check(t, "accepts", newProbe(nil, ln.Addr().String(), Launch{}, nil), "")
	check(t, "does not", newProbe(&manifest.Probe{TCP: true}, refuses, Launch{}, nil), "nothing listens")
	check(t, "exits 0", command(`test "$WORD" = yes`), "")
	check(t, "exits 1", command("echo no table; exit 1"), "exit code 1 no table")
	check(t, "is not there", newProbe(&manifest.Probe{Command: manifest.Command{Args: []string{"/no/such"}}}, "", Launch{}, run), "no such file")
	if newProbe(nil, "", Launch{}, nil) != nil {
		t.Error("a worker has something to probe")
	}
}

// TestGRPCProbe asks a real gRPC server.
func TestGRPCProbe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, status := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(server, status)
	status.SetServingStatus("cart", healthpb.HealthCheckResponse_SERVING)
	status.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
	go server.Serve(ln)
	defer server.Stop()
	at := func(addr, service string) probe {
		return newProbe(&manifest.Probe{GRPC: &service}, addr, Launch{}, nil)
	}
	addr := ln.Addr().String()
	check(t, "the server", at(addr, ""), "")
	check(t, "serving", at(addr, "cart"), "")
	check(t, "not serving", at(addr, "sick"), "status 2, not SERVING")
	check(t, "unknown", at(addr, "nope"), `grpc-status "5"`)
	check(t, "nobody", at(refuses, ""), "nothing listens")
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	if err := at(plain.Listener.Addr().String(), "").bounded(5 * time.Second)(t.Context()); err == nil {
		t.Error("a server without gRPC is well")
	}
}
