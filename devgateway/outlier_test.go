package devgateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errFailed = errors.New("connection reset")

// fleet is a gateway with n instances of a service, which nobody asks anything.
func fleet(n int, o Outliers) (*Gateway, []*endpoint) {
	g := New(Config{})
	g.SetOutliers(o)
	instances := make([]Instance, n)
	for i := range instances {
		instances[i] = Instance{ID: fmt.Sprint("s-", i+1), Addr: fmt.Sprint("127.0.0.1:", i+1)}
	}
	g.SetInstances("s", instances)
	return g, g.poolOf("s").set.Load().list
}

func (g *Gateway) fails(e *endpoint, times int) {
	for range times {
		g.judge("s", e, errFailed)
	}
}

// serving are the instances that get requests: each is picked while the others are
// busier.
func serving(list []*endpoint) (ids []string) {
	for _, e := range list {
		if !e.conduct.left() {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func TestAnInstanceThatFailsIsLeftOutAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, list := fleet(2, Outliers{Failures: 5, Base: 5 * time.Second, Max: 12 * time.Second})
		g.fails(list[0], 4)
		g.judge("s", list[0], nil)
		g.fails(list[0], 4)
		g.judge("s", list[0], errNoVerdict) // a client that went away is none of its business
		if got := serving(list); len(got) != 2 {
			t.Fatalf("after four in a row: %v", got)
		}
		// Each time is longer than the one before, up to the bound.
		for _, wait := range []time.Duration{5 * time.Second, 10 * time.Second, 12 * time.Second, 12 * time.Second} {
			g.fails(list[0], 5)
			out := g.Outliers()
			if len(out) != 1 || out[0].Instance != "s-1" || out[0].Cause != "connection reset" || time.Until(out[0].Until) != wait {
				t.Fatalf("left out: %+v, want for %v", out, wait)
			}
			for range 20 {
				e := pick(list, nil)
				if e != list[1] {
					t.Fatalf("%s was picked", e.ID)
				}
				e.release()
			}
			time.Sleep(wait - time.Nanosecond)
			if got := serving(list); len(got) != 1 {
				t.Errorf("too early: %v", got)
			}
			time.Sleep(time.Nanosecond)
			if got := serving(list); len(got) != 2 || len(g.Outliers()) != 0 {
				t.Errorf("not back: %v", got)
			}
		}
		time.Sleep(13 * time.Second) // it holds for longer than it was out
		g.fails(list[0], 5)
		if out := g.Outliers(); len(out) != 1 || time.Until(out[0].Until) != 5*time.Second {
			t.Errorf("what is long ago still counts: %+v", out)
		}
	})
}

// plainServer speaks HTTP/1.1 alone.
func plainServer(t *testing.T) Instance {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(seen))
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	return Instance{ID: "plain-" + addr, Addr: addr}
}

// closing takes connections and ends each after the first bytes.
func closing(t *testing.T) Instance {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<10))
			conn.Close()
		}
	}()
	return Instance{ID: "closing", Addr: ln.Addr().String()}
}

// What a client alone asks for leaves no instance out: gRPC where nobody speaks
// HTTP/2, and a WebSocket where nobody speaks HTTP/1.1.
func TestAClientsWishEjectsNobody(t *testing.T) {
	h2c := func(in Instance) Instance { in.HTTP2 = true; return in }
	grpcCall := []string{"Content-Type", "application/grpc"}
	webSocket := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	for name, tt := range map[string]struct {
		instances []Instance
		header    []string
		out       int
		cause     string
	}{
		"gRPC to HTTP/1.1":             {[]Instance{plainServer(t), plainServer(t)}, grpcCall, 0, "HTTP/2, which gRPC needs"},
		"gRPC to what closes":          {[]Instance{closing(t), plainServer(t)}, grpcCall, 0, "HTTP/2, which gRPC needs"},
		"WebSocket to HTTP/2":          {[]Instance{h2c(closing(t)), h2c(closing(t))}, webSocket, 0, "HTTP/1.1, which WebSocket needs"},
		"gRPC to h2c that is broken":   {[]Instance{h2c(closing(t)), h2c(plainServer(t))}, grpcCall, 1, ""},
		"a request to one that closes": {[]Instance{closing(t), plainServer(t)}, nil, 1, ""},
	} {
		r := newRig(t, Config{}, open1...)
		r.SetOutliers(Outliers{Failures: 3, Base: time.Minute, Max: time.Minute})
		r.SetInstances(one("s", tt.instances...))
		var said string
		for range 20 {
			got := r.do("POST", "/", strings.NewReader("\x00\x00\x00\x00\x00"), tt.header...)
			if message, err := url.PathUnescape(got.Header.Get("Grpc-Message")); err == nil {
				said += message + got.body
			}
		}
		if out := r.Outliers(); len(out) != tt.out || !strings.Contains(said, tt.cause) {
			t.Errorf("%s: %v, %s", name, out, said)
		}
	}
}

// One that has answered over HTTP/2 before is left out when it does not any more.
func TestAnInstanceThatSpokeHTTP2IsLeftOut(t *testing.T) {
	broken := atomic.Bool{}
	r := newRig(t, Config{}, open1...)
	r.SetOutliers(Outliers{Failures: 3, Base: time.Minute, Max: time.Minute})
	r.SetInstances(one("s", plainServer(t), upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "0")
	})))
	for range 40 {
		r.do("POST", "/", nil, "Content-Type", "application/grpc")
	}
	broken.Store(true)
	for range 40 {
		r.do("POST", "/", nil, "Content-Type", "application/grpc")
	}
	if out := r.Outliers(); len(out) != 1 || strings.HasPrefix(out[0].Instance, "plain") {
		t.Error(out)
	}
}

func TestHalfOfTheInstancesStay(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 9: 4} {
		g, list := fleet(n, Outliers{Failures: 1, Base: time.Minute})
		for _, e := range list {
			g.fails(e, 3)
		}
		if got := len(g.Outliers()); got != want {
			t.Errorf("of %d instances %d are left out, want %d", n, got, want)
		}
	}
}

// When those that are left are gone, too, one that was left out is better than none.
func TestAnOutlierIsBetterThanNone(t *testing.T) {
	g, list := fleet(2, Outliers{Failures: 1, Base: time.Minute})
	g.fails(list[0], 1)
	g.SetInstances("s", []Instance{list[0].Instance})
	if e := pick(g.poolOf("s").set.Load().list, nil); e != list[0] {
		t.Errorf("picked %v", e)
	}
	if e := pick(list, []*endpoint{list[1]}); e != list[0] {
		t.Errorf("beside one that was tried: %v", e)
	}
}

func TestOutliersAreTold(t *testing.T) {
	var log bytes.Buffer
	g, list := fleet(2, Outliers{Failures: 2, Base: 5 * time.Second})
	g.log = slog.New(slog.NewTextHandler(&log, nil))
	g.fails(list[1], 2)
	if !strings.Contains(log.String(), "instance=s-2 failures=2 for=5s cause=\"connection reset\"") {
		t.Errorf("log: %s", log.String())
	}
}

// What counts as a failure, seen from outside.
func TestWhatCountsAsAFailure(t *testing.T) {
	plain := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	call := func(status string, begins bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			name := "Grpc-Status"
			if w.Header().Set("Content-Type", "application/grpc"); begins {
				_, _ = io.WriteString(w, "\x00\x00\x00\x00\x00")
				name = http.TrailerPrefix + name
			}
			w.Header().Set(name, status)
		}
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		counts bool
	}{
		{"200", plain(200), false}, {"404", plain(404), false}, {"500", plain(500), false}, {"501", plain(501), false},
		{"502", plain(502), true}, {"503", plain(503), true}, {"504", plain(504), true},
		{"gRPC", call("0", true), false}, {"internal", call("13", true), false}, {"internal, at once", call("13", false), false},
		{"unavailable", call("14", true), true}, {"unavailable, at once", call("14", false), true},
	} {
		r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
		r.SetOutliers(Outliers{Failures: 3, Base: time.Hour})
		bad := upstream(t, tt.answer)
		bad.HTTP2 = true
		r.SetInstances(one("s", bad, upstream(t, seen)))
		for range 60 {
			r.do("GET", "/", nil)
		}
		if got := len(r.Outliers()) == 1; got != tt.counts {
			t.Errorf("%s: %v", tt.name, r.Outliers())
		}
	}
}

// Balancing: the instance with the fewest requests gets the next one.
func TestTheLeastBusyInstanceIsPicked(t *testing.T) {
	_, list := fleet(5, Outliers{})
	for i, e := range list {
		e.inflight.Store(int64(10 - i))
	}
	var got []string
	for range 6 {
		got = append(got, pick(list, nil).ID)
	}
	// 6 7 8 9 10 requests: the fifth instance until it has seven, then it and the fourth in any order.
	if got[0] != "s-5" || !strings.Contains("s-4 s-5", got[1]) || !strings.Contains("s-4 s-5", got[2]) || got[1] == got[2] {
		t.Errorf("picked %v", got)
	}
	load := int64(0)
	for _, e := range list {
		load = max(load, e.inflight.Load())
	}
	if load != 10 {
		t.Errorf("an instance has %d requests while others are free", load)
	}
}

// Of equals any is picked: a first one of a list would get all of a slow sender's.
func TestOfEqualsAnyIsPicked(t *testing.T) {
	_, list := fleet(3, Outliers{})
	count := map[string]int{}
	for range 3000 {
		e := pick(list, nil)
		count[e.ID]++
		e.release()
	}
	for id, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%s was picked %d times of 3000", id, n)
		}
	}
	if len(count) != 3 {
		t.Errorf("only %v", count)
	}
}
