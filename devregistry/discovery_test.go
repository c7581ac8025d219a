package devregistry

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ebef7166/mesh/internal/need"
)

// These are clients that know nothing of mesh, as their users configure them.

// program runs a program for as long as the test does. The function that it returns
// waits until the program has said a line.
func program(t *testing.T, path string, args ...string) (said func(line string)) {
	t.Helper()
	cmd := exec.Command(path, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func(line string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == line {
				return
			}
			t.Log(lines.Text())
		}
		t.Fatalf("%s ended before it said %q", filepath.Base(path), line)
	}
}

func config(t *testing.T, format string, args ...any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// backend is an instance of service web that answers with its ID.
func backend(t *testing.T, r *Registry, id string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(id))
	}))
	t.Cleanup(server.Close)
	host, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	number, _ := strconv.Atoi(port)
	r.Register(Instance{ID: id, Service: "web", Address: host, Port: number})
}

func listen(t *testing.T, r *Registry) string {
	t.Helper()
	ended := served(t, r)
	server := httptest.NewServer(r.Handler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		ended()
	})
	return server.Listener.Addr().String()
}

// TestPrometheus runs Prometheus' own discovery, which finds instances, those that
// come later, and that they go.
func TestPrometheus(t *testing.T) {
	discovery := filepath.Join(t.TempDir(), "promsd")
	build := exec.Command("go", "build", "-o", discovery, ".")
	build.Dir = filepath.Join("..", "tools", "promsd")
	if out, err := build.CombinedOutput(); err != nil {
		need.Missing(t, fmt.Sprintf("Prometheus' discovery (%v: %s)", err, out))
	}
	r := fresh(t)
	first := Instance{ID: "web-1", Service: "web", Address: "127.0.0.1", Port: 9001}
	r.Register(first)
	said := program(t, discovery, listen(t, r))
	said("web 127.0.0.1:9001")
	r.Register(Instance{ID: "web-2", Service: "web", Address: "127.0.0.1", Port: 9002})
	said("web 127.0.0.1:9001 127.0.0.1:9002")
	r.Deregister("web-1")
	said("web 127.0.0.1:9002")
	r.Deregister("web-2")
	said("web ")
}

// TestHAProxy: a server template follows SRV records.
func TestHAProxy(t *testing.T) {
	haproxy := need.Program(t, "haproxy", "/usr/sbin/haproxy")
	r := fresh(t)
	socket := filepath.Join(t.TempDir(), "s")
	backend(t, r, "web-1")
	program(t, haproxy, "-db", "-f", config(t, `
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
resolvers mesh
  nameserver dns1 %s
  accepted_payload_size 4096
  timeout resolve 100ms
  hold valid 100ms
  hold obsolete 0s
  hold nx 0s
frontend in
  bind unix@%s
  default_backend web
backend web
  server-template web 4 _web._tcp.service.consul resolvers mesh init-addr none check inter 100ms
`, named(t, r), socket))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	answersOf(t, client, "web-1")
	backend(t, r, "web-2")
	answersOf(t, client, "web-2")
	r.Deregister("web-2")
	backend(t, r, "web-3")
	answersOf(t, client, "web-3")
}

// answersOf asks until an instance answers. HAProxy may have yet to listen.
func answersOf(t *testing.T, client *http.Client, id string) {
	t.Helper()
	for ; t.Context().Err() == nil; time.Sleep(10 * time.Millisecond) {
		resp, err := client.Get("http://web/")
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) == id {
			return
		}
	}
}

// TestGRPCByName: grpc-go's own resolver asks the registry.
func TestGRPCByName(t *testing.T) {
	r := fresh(t)
	at := named(t, r)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	done := make(chan error)
	go func() { done <- server.Serve(ln) }()
	defer func() { server.Stop(); <-done }()
	port := ln.Addr().(*net.TCPAddr).Port
	r.Register(Instance{ID: "cart-1", Service: "cart", Address: "127.0.0.1", Port: port})
	for name, works := range map[string]bool{"cart": true, "none": false} {
		conn, err := grpc.NewClient(fmt.Sprintf("dns://%s/%s.service.consul:%d", at, name, port), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		conn.Close()
		if (err == nil) != works {
			t.Errorf("%s: %v", name, err)
		}
	}
}
