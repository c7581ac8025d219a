package devgateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

// directConn is a connection to an instance. One request at a time has it.
type directConn struct {
	net.Conn
	to *direct
	in *bufio.Reader

	since    time.Time // idle since
	room     int64     // bytes that may still be read of a head; negative: no bound
	reused   bool
	answered bool // something of an answer has come
}

var errHead = errors.New("the head of its answer is larger than 1 MiB")

// Read bounds the head of an answer.
func (c *directConn) Read(p []byte) (int, error) {
	if c.room == 0 {
		return 0, errHead
	}
	if c.room > 0 && int64(len(p)) > c.room {
		p = p[:c.room]
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.answered = true
	}
	if c.room > 0 {
		c.room -= int64(n)
	}
	return n, err
}

// roundTrip sends a request and reads the head of its answer. The end of the
// request's context ends both, and the reading of the body.
func (c *directConn) roundTrip(req *http.Request, head []byte) (*http.Response, error) {
	c.answered = false
	stop := context.AfterFunc(req.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	if _, err := c.Write(head); err != nil {
		stop()
		return nil, err
	}
	res, err := c.answer(req)
	if err != nil {
		stop()
		return nil, err
	}
	b := &directBody{ReadCloser: res.Body, c: c, res: res, stop: stop}
	if res.Body == http.NoBody {
		b.end(true)
	}
	res.Body = b
	return res, nil
}

// answer reads heads until one that counts: those of 1xx are passed on (RFC 9110,
// 15.2).
func (c *directConn) answer(req *http.Request) (*http.Response, error) {
	for range mostInterim + 1 {
		c.room = mostHead
		res, err := http.ReadResponse(c.in, req)
		c.room = -1
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("it switched protocols, which nobody asked for")
		case res.StatusCode >= 200:
			return res, nil
		}
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("it sent too many interim answers")
}

// directBody gives its connection back at the end of an answer.
type directBody struct {
	io.ReadCloser
	c     *directConn
	res   *http.Response
	stop  func() bool // ends the watch over the request's context
	ended atomic.Bool
}

func (b *directBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	whole := errors.Is(err, io.EOF)
	b.end(whole)
	if cause := context.Cause(b.res.Request.Context()); cause != nil && !whole {
		err = cause
	}
	return n, err
}

// Close ends an answer that was not read to its end, also while somebody reads.
func (b *directBody) Close() error {
	b.end(false)
	return nil
}

func (b *directBody) end(whole bool) {
	if !b.ended.CompareAndSwap(false, true) {
		return
	}
	if b.stop() && whole && !b.res.Close && b.c.in.Buffered() == 0 {
		b.c.to.put(b.c)
		return
	}
	b.c.Close()
}
