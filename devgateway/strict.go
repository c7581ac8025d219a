package devgateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// strictListener checks what clients send before net/http reads it, since that
// is laxer than RFC 9112 in places: it takes a bare LF for the end of a line and
// a length that is given twice, and does not count headers.
type strictListener struct{ net.Listener }

// Accept implements net.Listener.
func (l strictListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &strictConn{Conn: conn}, nil
}

// strictConn hands on what a client sends as far as it is well formed. In place
// of the first thing that is not, the server reads something that it refuses
// itself, in its turn and by its own means, and then the end.
type strictConn struct {
	net.Conn
	wire  wire
	tail  []byte      // what is read after the last good byte
	bad   atomic.Bool // tail was begun
	other atomic.Bool // the connection is no HTTP/1.1 any more
}

// Read implements net.Conn.
func (c *strictConn) Read(p []byte) (int, error) {
	if c.other.Load() {
		return c.Conn.Read(p)
	}
	if c.bad.Load() {
		return c.readTail(p)
	}
	n, err := c.Conn.Read(p)
	good, verdict := c.wire.scan(p[:n])
	switch verdict {
	case wireOther:
		c.other.Store(true)
	case wireBad:
		c.tail = []byte(poison)
		c.bad.Store(true)
		if good == 0 {
			return c.readTail(p)
		}
		return good, nil
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

// connState lets a connection alone that has become a WebSocket.
func connState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*strictConn); ok && state == http.StateHijacked {
		c.other.Store(true)
	}
}

type connKey struct{}

func connContext(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// malformed reports that a request was broken off because its body was not well
// formed.
func malformed(ctx context.Context) bool {
	c, ok := ctx.Value(connKey{}).(*strictConn)
	return ok && c.bad.Load()
}
