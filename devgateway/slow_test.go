package devgateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// crowd is how many clients are slow at once, and how patient the gateway is with
// them. MESH_CROWD=1000 makes it so many, with the patience of the real one.
func crowd(few int) (n int, patience time.Duration) {
	n, err := strconv.Atoi(os.Getenv("MESH_CROWD"))
	if err != nil {
		return few, 500 * time.Millisecond
	}
	return n, headerLimit
}

// slowRig is a gateway of little patience before a service with a long answer.
func slowRig(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig) *rig {
	r := rigOf(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/long" {
			_, _ = io.CopyN(w, zeros{}, 64<<20)
			return
		}
		seen(w, req)
	})))
	return r
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// slowly runs a crowd of clients, each until the gateway gives up on it, while
// others are served. It returns how long those waited at most, but for one in a
// hundred.
//
// A client calls ready once it is slow.
func slowly(t *testing.T, r *rig, n int, client func(ready func()) error) {
	t.Helper()
	calm := percentile(t, r, 300)
	var clients, starting sync.WaitGroup
	failed := make(chan error, n)
	starting.Add(n)
	for range n {
		clients.Go(func() {
			ready := sync.OnceFunc(starting.Done)
			defer ready()
			failed <- client(ready)
		})
	}
	starting.Wait()
	crowded := percentile(t, r, 300)
	clients.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
			break
		}
	}
	t.Logf("p99 of others: %v before, %v beside %d slow clients", calm, crowded, n)
}

// percentile is how long 99 of 100 requests take at most.
func percentile(t *testing.T, r *rig, n int) time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		begun := time.Now()
		if got := r.do("GET", "/", nil); got.StatusCode != http.StatusOK {
			t.Errorf("another's request: %s %s", got.Status, got.body)
			return 0
		}
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	return times[n*99/100]
}

// untilClosed reads until the gateway ends a connection, whatever it says before.
func untilClosed(conn net.Conn) error { return closedWithin(conn, 60*time.Second) }

func closedWithin(conn net.Conn, d time.Duration) error {
	if err := conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		return fmt.Errorf("still open: %w", err)
	}
	return nil
}

func eachRig(t *testing.T, test func(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig)) {
	t.Run("TCP", func(t *testing.T) { test(t, newRig) })
	t.Run("TLS", func(t *testing.T) { test(t, newTLSRig) })
}

// impatient makes the gateway give up early; rigs of tests share New's limits else.
func impatient(l limits, rigOf func(*testing.T, Config, ...Route) *rig) func(*testing.T, Config, ...Route) *rig {
	return func(t *testing.T, c Config, routes ...Route) *rig {
		c.limits = &l
		return rigOf(t, c, routes...)
	}
}

func TestSlowHeaders(t *testing.T) {
	eachRig(t, func(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig) {
		n, patience := crowd(100)
		r := slowRig(t, impatient(limits{patience, time.Minute, time.Minute}, rigOf))
		slowly(t, r, n, func(ready func()) error {
			conn, err := r.dial()
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
				return nil // its handshake was slow enough
			}
			if err != nil {
				return err
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: loc") // it may be closed by now
			ready()
			return untilClosed(conn)
		})
	})
}

// A header block of HTTP/2 has as much time.
func TestSlowHeaderBlocks(t *testing.T) {
	eachRig(t, func(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig) {
		n, patience := crowd(20)
		r := slowRig(t, impatient(limits{patience, time.Minute, time.Minute}, rigOf))
		begins := []string{
			"\x00\x00\x01\x01\x04\x00\x00\x00\x01",                                             // HEADERS without their payload
			"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82",                                         // and without END_HEADERS
			"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82\x00\x00\x01\x09\x00\x00\x00\x00\x01\x84", // with a CONTINUATION
			"\x00\x00\x01", // of the head of a frame
		}
		var next atomic.Int64
		slowly(t, r, n, func(ready func()) error {
			conn, err := r.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			begin := begins[int(next.Add(1))%len(begins)]
			if _, err := io.WriteString(conn, http2.ClientPreface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+begin); err != nil {
				return err
			}
			ready()
			return closedWithin(conn, 20*time.Second) // pings would end it after 45 s
		})
	})
}

// A handshake that does not go on is a head that does not come.
func TestSlowHandshakes(t *testing.T) {
	n, patience := crowd(20)
	r := slowRig(t, impatient(limits{patience, time.Minute, time.Minute}, newTLSRig))
	slowly(t, r, n, func(ready func()) error {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1}) // of a ClientHello
		ready()
		return untilClosed(conn)
	})
}

func TestSlowBodies(t *testing.T) {
	eachRig(t, func(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig) {
		n, patience := crowd(100)
		r := slowRig(t, impatient(limits{time.Minute, time.Minute, patience}, rigOf))
		slowly(t, r, n, func(ready func()) error {
			conn, err := r.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nslow"); err != nil {
				return err
			}
			ready()
			if err := conn.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
				return err
			}
			answer, err := io.ReadAll(conn)
			if isTimeout(err) || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
				return fmt.Errorf("%q %w", answer, err)
			}
			return nil
		})
	})
}

// What comes slowly but steadily is nobody's fault, and a request that is over is
// not broken off.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped atomic.Int64
		stop := func() { stopped.Add(1) }
		w := &watch{after: 2 * time.Second, stop: stop}
		for range 10 {
			w.wait(func() { time.Sleep(1900 * time.Millisecond) })
			time.Sleep(time.Minute) // nobody waits for the client
		}
		if stopped.Load() != 0 || w.hasFired() {
			t.Errorf("a steady one was stopped %d times", stopped.Load())
		}
		w.wait(func() { time.Sleep(2100 * time.Millisecond) })
		if stopped.Load() != 1 || !w.hasFired() {
			t.Errorf("stopped %d times", stopped.Load())
		}
		late := &watch{after: 2 * time.Second, stop: stop}
		done := make(chan struct{})
		go late.wait(func() { <-done })
		synctest.Wait()
		late.end()
		time.Sleep(time.Minute)
		if close(done); stopped.Load() != 1 || late.hasFired() {
			t.Error("stopped when it was over")
		}
	})
}

// Clients that ask for much and take nothing: the gateway gives up on them, and so
// the instance is rid of them, too. Little is kept for them until then.
func TestSlowReaders(t *testing.T) {
	eachRig(t, func(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig) {
		n, patience := crowd(20)
		r := slowRig(t, impatient(limits{time.Minute, time.Minute, patience}, rigOf))
		slowly(t, r, n, func(ready func()) error {
			conn, err := r.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := smallBuffer(conn); err != nil {
				return err
			}
			if _, err := io.WriteString(conn, "GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				return err
			}
			ready()
			return r.recorded("/long", n)
		})
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, record := range r.records {
			if record.Path == "/long" && record.ResponseBytes > 4*mostSent {
				t.Errorf("%d bytes were sent to a client that read none", record.ResponseBytes)
				return
			}
		}
	})
}

// recorded waits until n requests for a path are over.
func (r *rig) recorded(path string, n int) error {
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		r.mu.Lock()
		over := 0
		for _, record := range r.records {
			if record.Path == path {
				over++
			}
		}
		r.mu.Unlock()
		if over >= n {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d requests for %s are over", over, n, path)
		}
	}
}

// smallBuffer keeps the system from taking an answer in the client's stead.
func smallBuffer(conn net.Conn) error {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return conn.(*net.TCPConn).SetReadBuffer(4 << 10)
}

// Over HTTP/2 a client may read everything else and give one stream no room.
func TestSlowReadersOfStreams(t *testing.T) {
	n, patience := crowd(20)
	r := slowRig(t, impatient(limits{time.Minute, time.Minute, patience}, newRig))
	slowly(t, r, 4, func(ready func()) error {
		c, err := r.framer()
		if err != nil {
			return err
		}
		defer c.conn.Close()
		if err := c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 16}); err != nil {
			return err
		}
		for i := range n / 4 {
			if err := c.get(uint32(2*i+1), "/long"); err != nil {
				return err
			}
		}
		ready()
		reset := map[uint32]bool{}
		return c.frames(func(f http2.Frame) (bool, error) {
			if f, ok := f.(*http2.RSTStreamFrame); ok {
				reset[f.StreamID] = true
			}
			return len(reset) == n/4, nil
		})
	})
}
