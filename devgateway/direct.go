package devgateway

import (
	"cmp"
	"net/http"
	"sync"
	"time"
)

// Bounds of what goes over connections that the gateway keeps by itself.
const (
	directBuffer = 4 << 10  // of a connection that is read from: for a head, and often a short body
	mostDirect   = 16 << 10 // bytes of a request's body: it is read whole before it is sent
	mostIdle     = 256      // connections to one instance
	idleConn     = 50 * time.Second
	mostHead     = 1 << 20 // bytes of an answer's head, and of those of 1xx before it
)

// direct speaks HTTP/1.1 to one instance, on the goroutine of the request.
//
// net/http's client gives each connection two goroutines; what they hand to each
// other costs more than such a request itself. It is for requests that are at hand
// whole, which most are; those that stream go to net/http's.
type direct struct {
	addr string

	mu     sync.Mutex
	idle   []*directConn // the last one that was used is last
	closed bool
	sweep  *time.Timer // nil: nothing is idle
}

// goesDirect says whether a request is one for direct.
func goesDirect(e *endpoint, req *http.Request) bool {
	return !e.TLS && !e.HTTP2 && len(req.Trailer) == 0 && isShort(req)
}

// isShort says whether a request is one that can be at hand whole. Its body is read
// before an instance is chosen: a client that takes its time holds none, nor a
// connection, which an instance may end meanwhile.
func isShort(req *http.Request) bool {
	return !isGRPC(req.Header) && req.Header["Upgrade"] == nil && req.Header["Expect"] == nil &&
		req.ContentLength >= 0 && req.ContentLength <= mostDirect
}

// roundTrip sends a request, with the headers of said beside its own, and returns the
// head of its answer; those of 1xx before it go to interim. A request that an idle
// connection could not take any more is sent over another one if it may be.
func (d *direct) roundTrip(l *life, req *http.Request, said []headerField, interim func(code int, h http.Header)) (*http.Response, error) {
	var sent *directRequest
	var broken error // how the connection before ended
	defer func() { sent.free() }()
	for {
		c, err := d.take(req)
		if err != nil {
			return nil, cmp.Or(broken, err)
		}
		if sent == nil {
			if sent, err = newDirectRequest(req, said); err != nil {
				d.put(c)
				return nil, err
			}
		}
		res, err := c.roundTrip(l, req, sent.data, interim)
		if err == nil {
			return res, nil
		}
		c.Close()
		if err := l.Err(); err != nil {
			return nil, err
		}
		if !c.reused || c.answered || !idempotent(req) {
			return nil, err
		}
		broken = err
	}
}

// take returns an idle connection or a new one. A request that must not be sent
// twice gets one that the instance has not closed meanwhile.
func (d *direct) take(req *http.Request) (*directConn, error) {
	for c := d.pop(); c != nil; c = d.pop() {
		if idempotent(req) && time.Since(c.since) < time.Second || c.alive() {
			c.reused = true
			return c, nil
		}
		c.Close()
	}
	conn, err := dial(req.Context(), "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	return &directConn{Conn: conn, to: d}, nil
}

func (d *direct) pop() *directConn {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.idle)
	if n == 0 {
		return nil
	}
	c := d.idle[n-1]
	d.idle[n-1], d.idle = nil, d.idle[:n-1]
	return c
}

// put keeps a connection for the next request. At the bound it is closed.
func (d *direct) put(c *directConn) {
	c.since = time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.idle) >= mostIdle {
		c.Close()
		return
	}
	d.idle = append(d.idle, c)
	if d.sweep == nil {
		d.sweep = time.AfterFunc(idleConn, d.closeOld)
	}
}

// closeOld closes what nobody has used for long; servers do it too, in the end.
func (d *direct) closeOld() {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := 0
	for ; old < len(d.idle) && time.Since(d.idle[old].since) >= idleConn; old++ {
		d.idle[old].Close()
	}
	d.idle = append(d.idle[:0:0], d.idle[old:]...)
	if d.sweep = nil; len(d.idle) > 0 {
		d.sweep = time.AfterFunc(idleConn-time.Since(d.idle[0].since), d.closeOld)
	}
}

// close closes what is idle, and from then on what becomes so.
func (d *direct) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.closeIdle()
}

func (d *direct) closeIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.idle {
		c.Close()
	}
	if d.idle = nil; d.sweep != nil {
		d.sweep.Stop()
		d.sweep = nil
	}
}
