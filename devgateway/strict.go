package devgateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// strictListener checks what clients send before net/http reads it, since that
// is laxer than RFC 9112 in places: it takes a bare LF for the end of a line and
// a length that is given twice, and does not count headers.
type strictListener struct {
	net.Listener
	limits limits
}

// Accept implements net.Listener.
func (l strictListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	secure, _ := conn.(*tls.Conn)
	boundBuffer(conn, secure)
	return &strictConn{Conn: conn, secure: secure, limits: l.limits}, nil
}

// mostSent bounds what the system keeps for a client that does not read, in bytes. By
// itself it takes megabytes for each where the way is short, and all of it is copied
// while others wait.
const mostSent = 256 << 10

func boundBuffer(conn net.Conn, secure *tls.Conn) {
	if secure != nil {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(mostSent) // a connection that is broken says so itself
	}
}

// strictConn hands on what a client sends as far as it is well formed. In place
// of the first thing that is not, the server reads something that it refuses
// itself, in its turn and by its own means, and then the end.
//
// Over TLS it reads what was decrypted. net/http sees no *tls.Conn then: it finds
// HTTP/2 by its preface, and [strictConn.state] tells requests that they came by
// TLS.
type strictConn struct {
	net.Conn
	secure *tls.Conn            // the same connection; nil: without TLS
	state  *tls.ConnectionState // since the first read over TLS
	told   bool                 // that this is HTTPS
	limits limits
	armed  time.Time // when the deadline of writes was set
	wire   wire
	frames *frames     // of HTTP/2; nil before it
	block  bool        // a header block is under way, and the deadline of reads is its own
	tail   []byte      // what is read after the last good byte
	bad    atomic.Bool // tail was begun
	other  atomic.Bool // the connection is no HTTP/1.1 any more

	request atomic.Pointer[life] // the one under way, to be ended with the connection
}

// Read implements net.Conn.
func (c *strictConn) Read(p []byte) (int, error) {
	if c.other.Load() {
		return c.readFrames(p)
	}
	if c.bad.Load() {
		return c.readTail(p)
	}
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone()
	}
	if c.secure != nil && c.state == nil && !c.told {
		c.shaken(err)
	}
	good, verdict := c.wire.scan(p[:n])
	switch verdict {
	case wireOther:
		c.other.Store(true)
		c.frames = newFrames()
		c.follow(p[good+bytes.IndexByte(p[good:], '\n')+1 : n])
	case wireBad, wireLong:
		if c.tail = []byte(poison); verdict == wireLong {
			c.tail = bytes.Repeat([]byte("x"), 4*slack)
		}
		c.bad.Store(true)
		if good == 0 {
			return c.readTail(p)
		}
		return good, nil
	}
	return n, err
}

// readFrames reads what is no HTTP/1.1: HTTP/2, or a WebSocket, which has all its time.
func (c *strictConn) readFrames(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.frames != nil {
		c.follow(p[:n])
	}
	return n, err
}

// follow gives a header block the time that a head has over HTTP/1.1. net/http gives
// it as long as its pings take.
func (c *strictConn) follow(p []byte) {
	switch block := c.frames.scan(p); {
	case block && !c.block:
		c.block = true
		_ = c.SetReadDeadline(time.Now().Add(c.limits.header)) // Read says what is wrong with the connection
	case !block && c.block:
		c.block = false
		_ = c.SetReadDeadline(time.Time{})
	}
}

// gone ends the request under way: its client has left. net/http reads while a request
// is answered, to learn of that.
func (c *strictConn) gone() {
	if l := c.request.Load(); l != nil {
		l.end(context.Canceled)
	}
}

// shaken looks at the handshake that the first read made. What was agreed on by
// ALPN is what must be spoken.
func (c *strictConn) shaken(err error) {
	if err == nil {
		state := c.secure.ConnectionState()
		c.state, c.wire.agreed = &state, state.NegotiatedProtocol
		return
	}
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && plain.RecordHeader[0] >= 'A' && plain.RecordHeader[0] <= 'Z' {
		c.told = true
		_, _ = io.WriteString(plain.Conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nThis address speaks HTTPS: write https:// in front of it.\n")
	}
}

// Write gives up on a client that takes nothing for too long. What is less than a
// buffer in that time is nothing.
func (c *strictConn) Write(p []byte) (int, error) {
	if c.limits.stall == 0 {
		return c.Conn.Write(p)
	}
	if now := time.Now(); now.Sub(c.armed) > c.limits.stall/8 { // to set it costs more than to look
		c.armed = now
		_ = c.SetWriteDeadline(now.Add(c.limits.stall)) // Write says what is wrong with the connection
	}
	n, err := c.Conn.Write(p)
	if c.secure != nil { // which answers some of what it reads by itself
		_ = c.SetWriteDeadline(time.Time{})
		c.armed = time.Time{}
	}
	return n, err
}

// CloseWrite ends what is sent, so that a client sees an answer before the
// connection is reset.
func (c *strictConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *strictConn) readTail(p []byte) (int, error) {
	n := copy(p, c.tail)
	if c.tail = c.tail[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// poison is what net/http takes for malformed wherever it stands: in the middle of
// a line of a head, after it, and in a chunked body.
const poison = "\x00\r\n\x00\r\n\r\n"

// slack is what net/http reads beyond its bound of a head, and what it may have read
// already when it begins to count: its buffer's size, both times. What is kept back of
// a head that is too long is another, at most. With four of them net/http sees for
// itself that the head is too long, and answers 431.
const slack = 4 << 10

// connState lets a connection alone that has become a WebSocket.
func connState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*strictConn); ok && state == http.StateHijacked {
		c.other.Store(true)
	}
}

type connKey struct{}

// alone is the connection that a request has to itself, or nil: over HTTP/2 it shares
// it.
func alone(request context.Context) *strictConn {
	if c, ok := request.Value(connKey{}).(*strictConn); ok && !c.other.Load() {
		return c
	}
	return nil
}

func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// overTLS gives requests the state of their connection, as net/http does where it
// speaks TLS itself.
func overTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*strictConn); ok && c.state != nil {
			r.TLS = c.state
		}
		next.ServeHTTP(w, r)
	})
}

// malformed reports that a request was broken off because its body was not well
// formed.
func malformed(ctx context.Context) bool {
	c, ok := ctx.Value(connKey{}).(*strictConn)
	return ok && c.bad.Load()
}
