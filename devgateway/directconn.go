package devgateway

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// directConn is a connection to an instance. One request at a time has it.
type directConn struct {
	net.Conn
	to *direct
	in *bufio.Reader // while an answer is read

	since    time.Time // idle since
	room     int64     // bytes that may still be read of a head; negative: no bound
	reused   bool
	answered bool // something of an answer has come
}

var errHead = errors.New("the head of its answer, with those of interim answers before it, is larger than 1 MiB")

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

// roundTrip sends a request and reads the head of its answer. The end of l ends
// both, and the reading of the body.
func (c *directConn) roundTrip(l *life, req *http.Request, head []byte, interim func(int, http.Header)) (*http.Response, error) {
	c.answered = false
	c.in = readers.Get().(*bufio.Reader)
	c.in.Reset(c)
	l.onEnd(func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	_, err := c.Write(head)
	runtime.Gosched() // others are served while the instance works; an answer that is there is not waited for
	if err == nil {
		var res *http.Response
		if res, err = c.answer(req, interim); err == nil {
			res.Body = newDirectBody(l, c, res)
			return res, nil
		}
	}
	l.goesOn()
	c.letGo()
	return nil, err
}

// readers are the buffers that answers are read into: a connection has one for as long
// as an answer takes.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, directBuffer) }}

func (c *directConn) letGo() {
	c.in.Reset(nil)
	readers.Put(c.in)
	c.in = nil
}

// answer reads heads until one that counts: those of 1xx are passed on (RFC 9110,
// 15.2), as many as come in mostHead bytes.
func (c *directConn) answer(req *http.Request, interim func(int, http.Header)) (*http.Response, error) {
	c.room = mostHead
	defer func() { c.room = -1 }()
	for {
		res, err := c.plainAnswer(req), error(nil)
		if res == nil {
			res, err = c.fullAnswer(req)
		}
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("it switched protocols, which nobody asked for")
		case !isInterim(res.StatusCode):
			return res, nil
		}
		interim(res.StatusCode, res.Header)
	}
}

// fullAnswer reads a head by net/http, which forgets what Connection names where it also
// says close.
func (c *directConn) fullAnswer(req *http.Request) (*http.Response, error) {
	named := nominated(c.comingHead())
	res, err := http.ReadResponse(c.in, req)
	if err == nil && len(named) > 0 {
		res.Header["Connection"] = named
	}
	return res, err
}

// comingHead is the head that comes next, as far as the buffer holds it.
func (c *directConn) comingHead() (head []byte) {
	for n := 1; n <= directBuffer; n = len(head) + 1 {
		_, err := c.in.Peek(n) // waits for more
		head, _ = c.in.Peek(c.in.Buffered())
		for _, end := range [...]string{"\n\r\n", "\n\n"} {
			if whole, _, found := bytes.Cut(head, []byte(end)); found {
				return whole
			}
		}
		if err != nil {
			break
		}
	}
	return head
}

// nominated are the values of Connection in a head.
func nominated(head []byte) (values []string) {
	for line := range bytes.Lines(head) {
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Connection")) {
			values = append(values, string(bytes.TrimSpace(value)))
		}
	}
	return values
}

func isInterim(status int) bool { return status >= 100 && status < 200 }
