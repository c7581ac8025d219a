package devgateway

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// smuggler makes requests that try to pass an identity header, by a grammar: each
// is a few tricks at once, on a request that is otherwise plain. What it passes is
// recognised by the word mallory.
type smuggler struct{ *rand.Rand }

func (s smuggler) one(of ...string) string { return of[s.IntN(len(of))] }

func (s smuggler) name() string {
	name := s.one("X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Real-IP", "Forwarded", "X-Auth-Request-User",
		"X-Auth-Request-Email", "X-Auth-Request-Groups", "Remote-User", "Remote-Groups", "X-Remote-User", "X-Original-URL", "X-Original-Host", "X-Rewrite-URL",
		"X-HTTP-Method-Override", "X-Method-Override")
	switch s.IntN(6) {
	case 0:
		return strings.ToLower(name)
	case 1:
		return strings.ToUpper(name)
	case 2:
		return s.mixed(name)
	case 3:
		return strings.Replace(name, "-", "_", 1+s.IntN(2))
	case 4:
		return s.one(" ", "\t", "") + name + s.one("", " ", "\t", "\x00", "\r", ":")
	}
	return name
}

func (s smuggler) mixed(name string) string {
	return strings.Map(func(r rune) rune {
		if s.IntN(2) == 0 {
			return rune(strings.ToUpper(string(r))[0])
		}
		return rune(strings.ToLower(string(r))[0])
	}, name)
}

func (s smuggler) value() string {
	return s.one("mallory", " mallory ", "\"mallory\"", "alice,mallory", "mallory@example.test", "for=mallory", "\tmallory", "mallory;a=b", "=?utf-8?q?mallory?=")
}

func (s smuggler) header() string {
	switch s.IntN(10) {
	case 0:
		return "Connection: " + s.one("close, ", "keep-alive, ", "", "upgrade,") + s.name()
	case 1:
		return "A: b" + s.one("\r\n ", "\n", "\r", "\r\n\t", "\x00", "\x0b") + s.name() + ": " + s.value()
	case 2:
		return "Trailer: " + s.name()
	case 3:
		return "Upgrade: " + s.one("h2c", "websocket, h2c", "mallory") + "\r\nConnection: Upgrade"
	case 4:
		return s.one("Keep-Alive", "Proxy-Connection", "TE", "Proxy-Authorization", "Cookie", "Via") + ": " + s.one("trailers", "timeout=5", "X-Forwarded-User")
	}
	return s.name() + s.one(":", ": ", ":\t", " : ") + s.value()
}

func (s smuggler) request() string {
	var b strings.Builder
	body := s.one("", "", "", "5\r\nhello\r\n0\r\n"+s.name()+": "+s.value()+"\r\n\r\n", "0\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n"+s.header()+"\r\n\r\n")
	b.WriteString(s.one("GET", "POST", "PUT", "OPTIONS") + " " + s.one("/", "/me", "/a/b?x=mallory", "http://localhost/", "//a", "/%6de") + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
	if s.IntN(2) == 0 {
		b.WriteString("Authorization: Bearer alice\r\n")
	}
	if body != "" {
		b.WriteString("Transfer-Encoding: chunked\r\n")
	}
	for range 1 + s.IntN(4) {
		b.WriteString(s.header() + "\r\n")
	}
	return b.String() + "\r\n" + body
}

// identities are headers by which a service may learn who asks. The query is the
// sender's own, and so is what it says under other names.
func identities(h http.Header) (leak string) {
	for name, values := range h {
		plain := strings.ReplaceAll(http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")), " ", "")
		if isIdentity(plain) && strings.Contains(strings.Join(values, ""), "mallory") {
			return name
		}
	}
	return ""
}

// smuggled is how many requests are made: 100,000, or MESH_SMUGGLED of them, or a
// tenth in a short run.
func smuggled() int {
	if n, err := strconv.Atoi(os.Getenv("MESH_SMUGGLED")); err == nil {
		return n
	}
	if testing.Short() {
		return 10_000
	}
	return 100_000
}

// TestNoIdentityLeaks: of all that the grammar makes, through the reader of the
// wire, net/http's and the gateway, no service sees an identity that is not
// verified.
func TestNoIdentityLeaks(t *testing.T) {
	var arrived, forged atomic.Int64
	look := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived.Add(1)
		user := r.Header.Get("X-Forwarded-User")
		if leak := identities(r.Header) + identities(r.Trailer); leak != "" || user != "" && user != "alice" {
			forged.Add(1)
			t.Errorf("%s arrived in %v, trailers %v", leak, r.Header, r.Trailer)
		}
	}
	service := upstream(t, look)
	var sending sync.WaitGroup
	workers, n := runtime.GOMAXPROCS(0), smuggled()
	for worker := range workers {
		sending.Go(func() {
			s := smuggler{rand.New(rand.NewPCG(uint64(worker), 7))}
			r := newRig(t, Config{}, Route{Service: "s", Prefix: "/me"}, Route{Service: "s", Prefix: "/", Auth: AuthOptional})
			r.SetInstances(one("s", service))
			serve := http.Server{Handler: r.Handler(), ErrorLog: discard(), ConnState: connState, ConnContext: connContext}
			ln := newPipeListener()
			done := make(chan struct{})
			go func() { defer close(done); _ = serve.Serve(strictListener{ln, limits{}}) }()
			for range n / workers {
				if err := ln.send(s.request()); err != nil {
					t.Error(err)
					break
				}
			}
			_ = serve.Close()
			<-done
		})
	}
	sending.Wait()
	if arrived.Load() < int64(n)/20 {
		t.Errorf("only %d of %d requests arrived: the test tries nothing", arrived.Load(), n)
	}
	t.Logf("%d requests, %d arrived, %d leaks", n, arrived.Load(), forged.Load())
}

// FuzzHeader holds what one header can do, whatever its name and value.
func FuzzHeader(f *testing.F) {
	s := smuggler{rand.New(rand.NewPCG(1, 2))}
	for range 100 {
		f.Add(s.name(), s.value(), "close")
	}
	f.Add("X-Forwarded-User", "mallory", "X-Forwarded-User")
	g := New(Config{Verifier: people})
	table, err := Compile([]Route{{Service: "s", Prefix: "/"}})
	if err != nil {
		f.Fatal(err)
	}
	g.SetTable(table)
	own := map[string][]string{
		"X-Forwarded-User": {"alice"}, "X-Forwarded-Email": {"alice@example.test"}, "X-Forwarded-Groups": {"customer,beta"},
		"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"localhost"}, "X-Forwarded-Proto": {"http"},
	}
	f.Fuzz(func(t *testing.T, name, value, connection string) {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		r.Host = "localhost"
		r.Header = http.Header{name: {value}, "Connection": {connection}, "Authorization": {"Bearer alice"}}
		x := &exchange{g: g, trace: newTrace(r.Header)}
		if x.problem = x.admit(r); x.problem != nil {
			return
		}
		r = x.begin(r)
		defer x.finish()
		out, settled := x.forTransport(x.outgoing(r))
		defer settled()
		for name, values := range out.Header {
			plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
			if isIdentity(plain) && !slices.Equal(values, own[plain]) {
				t.Errorf("%q: %q arrives", name, values)
			}
		}
	})
}
