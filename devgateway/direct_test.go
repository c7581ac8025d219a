package devgateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is an instance that answers each request on a connection by the next of
// its answers, byte for byte; "" closes the connection without one.
type scripted struct {
	t        *testing.T
	ln       net.Listener
	conns    atomic.Int32
	requests chan string // heads and bodies as they came
	answers  chan string
}

func newScripted(t *testing.T, answers ...string) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{t: t, ln: ln, requests: make(chan string, 100), answers: make(chan string, 100)}
	for _, a := range answers {
		s.answers <- a
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go s.serve(conn)
		}
	}()
	t.Cleanup(func() { ln.Close(); <-ended })
	return s
}

func (s *scripted) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(req.Body)
		s.requests <- fmt.Sprintf("%s %s %v %s", req.Method, req.RequestURI, req.Header, body)
		answer := <-s.answers
		if answer == "" {
			return
		}
		_, _ = io.WriteString(conn, strings.TrimSuffix(answer, "!"))
		if strings.HasSuffix(answer, "!") { // and then the end
			return
		}
	}
}

const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func (s *scripted) direct() *direct {
	d := &direct{addr: s.ln.Addr().String()}
	s.t.Cleanup(d.close)
	return d
}

func noInterim(int, http.Header) {}

// lifeOf is a life that nobody but the request's context ends.
func lifeOf(req *http.Request) *life {
	l := &life{}
	l.begin(req.Context())
	return l
}

// ask sends a request and returns its answer as text.
func ask(t *testing.T, d *direct, method, body string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+d.addr+"/x?y=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.roundTrip(lifeOf(req), req, nil, noInterim)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s%s", res.StatusCode, text, res.Trailer.Get("T")), err
}

func TestDirectAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		method, answer, want string
		kept                 bool
	}{
		"length":            {"GET", plainAnswer, "200 ok", true},
		"chunks, trailer":   {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2\r\nok\r\n0\r\nT: end\r\n\r\n", "200 okend", true},
		"no content":        {"DELETE", "HTTP/1.1 204 No Content\r\n\r\n", "204 ", true},
		"not modified":      {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304 ", true},
		"HEAD":              {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 ", true},
		"empty":             {"POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 ", true},
		"to its end":        {"GET", "HTTP/1.1 200 OK\r\n\r\nok!", "200 ok", false},
		"closes":            {"GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok!", "200 ok", false},
		"HTTP/1.0":          {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok!", "200 ok", false},
		"more than it says": {"GET", plainAnswer + "HTTP/1.1 200 OK\r\n\r\n", "200 ok", false},
		"interim":           {"GET", "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + plainAnswer, "200 ok", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, test.answer)
			d := s.direct()
			if got, err := ask(t, d, test.method, ""); err != nil || got != test.want {
				t.Errorf("%q %v", got, err)
			}
			if kept := len(d.idle) == 1; kept != test.kept {
				t.Errorf("kept: %t", kept)
			}
		})
	}
	for name, answer := range map[string]string{
		"nothing":       "",
		"half a head":   "HTTP/1.1 200 OK\r\nContent-!",
		"half a body":   "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok!",
		"no HTTP":       "hello\r\n\r\n",
		"a switch":      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
		"interim only":  strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", mostHead/20),
		"a huge head":   "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("a", 1000)+"\r\n", 1100) + "\r\n",
		"a bad chunk":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nok\r\n",
		"two lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"a cut trailer": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: en!",
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, answer, answer)
			d := s.direct()
			if got, err := ask(t, d, "POST", "x"); err == nil {
				t.Errorf("%q", got)
			}
			if len(d.idle) != 0 || s.conns.Load() != 1 {
				t.Errorf("%d idle, %d connections", len(d.idle), s.conns.Load())
			}
		})
	}
}

// TestDirectKeepsConnections: one is used again, one that the instance has closed
// is not, and what must not be sent twice is not.
func TestDirectKeepsConnections(t *testing.T) {
	s := newScripted(t, plainAnswer, plainAnswer, plainAnswer+"!", plainAnswer, plainAnswer+"!", plainAnswer)
	d := s.direct()
	for i, method := range []string{"GET", "POST", "GET", "GET", "GET", "POST"} {
		if got, err := ask(t, d, method, "body"); err != nil || got != "200 ok" {
			t.Errorf("%d: %q %v", i, got, err)
		}
		if i == 2 || i == 4 {
			c := d.idle[0]
			for c.alive() { // its end is on the way
				time.Sleep(time.Millisecond)
			}
		}
	}
	if n := s.conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}

	// An instance that takes a request on a kept connection and says nothing.
	for method, want := range map[string]int{"GET": 2, "POST": 1} {
		s := newScripted(t, plainAnswer, "", plainAnswer)
		d := s.direct()
		if _, err := ask(t, d, "GET", ""); err != nil {
			t.Fatal(err)
		}
		<-s.requests
		_, err := ask(t, d, method, "")
		if got := len(s.requests); got != want || (err == nil) != (want == 2) {
			t.Errorf("%s was sent %d times: %v", method, got, err)
		}
	}
}

func TestDirectRequests(t *testing.T) {
	s := newScripted(t, plainAnswer, plainAnswer, plainAnswer)
	d := s.direct()
	for method, want := range map[string]string{
		"GET": "GET /x?y=1 map[] ", "POST": "POST /x?y=1 map[Content-Length:[0]] ", "DELETE": "DELETE /x?y=1 map[] ",
	} {
		if _, err := ask(t, d, method, ""); err != nil {
			t.Fatal(err)
		}
		if got := <-s.requests; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.addr, nil)
	req.Header["A"] = []string{"b\r\nX-Forwarded-User: admin"}
	if _, err := d.roundTrip(lifeOf(req), req, nil, noInterim); err == nil {
		t.Error("a header of two lines was sent")
	}
	if len(d.idle) != 1 {
		t.Error("the connection that nothing was sent on is gone")
	}
	broken, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr, io.MultiReader(strings.NewReader("ab"), failing{}))
	broken.ContentLength = 5
	if _, err := d.roundTrip(lifeOf(broken), broken, nil, noInterim); !errors.Is(err, errFailing) {
		t.Errorf("a body that breaks: %v", err)
	}
}

type failing struct{}

var errFailing = errors.New("failing")

func (failing) Read([]byte) (int, error) { return 0, errFailing }

func TestDirectPassesInterimAnswers(t *testing.T) {
	s := newScripted(t, "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+plainAnswer)
	d := s.direct()
	var got []string
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.addr, nil)
	res, err := d.roundTrip(lifeOf(req), req, nil, func(code int, h http.Header) { got = append(got, fmt.Sprint(code, h)) })
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if want := "[103 map[Link:[</s.css>]] 102 map[]]"; fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
}

// TestDirectEndsWithItsContext: while the head is waited for, and while the body is
// read; what Close interrupts ends too.
func TestDirectEndsWithItsContext(t *testing.T) {
	for name, answer := range map[string]string{"before the head": "HTTP/1.1 200", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(t, answer)
			d := s.direct()
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-s.requests; cancel() }()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.addr, nil)
			res, err := d.roundTrip(lifeOf(req), req, nil, noInterim)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				res.Body.Close()
			}
			if !errors.Is(err, context.Canceled) || len(d.idle) != 0 {
				t.Errorf("%v, %d idle", err, len(d.idle))
			}
		})
	}
	s := newScripted(t, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok")
	d := s.direct()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.addr, nil)
	res, err := d.roundTrip(lifeOf(req), req, nil, noInterim)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() { _, err := io.ReadAll(res.Body); read <- err }()
	res.Body.Close()
	if err := <-read; err == nil {
		t.Error("read to an end that there is not")
	}
}

func TestDirectIdleConnectionsAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &direct{}
		idle := func() int {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.idle)
		}
		var others []net.Conn
		put := func() {
			ours, other := net.Pipe()
			others = append(others, other)
			d.put(&directConn{Conn: ours, to: d})
		}
		for range mostIdle + 1 {
			put()
		}
		if n := idle(); n != mostIdle {
			t.Errorf("%d idle", n)
		}
		time.Sleep(idleConn / 2)
		d.pop().Close()
		put()
		time.Sleep(idleConn/2 + time.Second)
		synctest.Wait()
		if n := idle(); n != 1 {
			t.Errorf("%d idle after their time", n)
		}
		time.Sleep(idleConn)
		synctest.Wait()
		if n := idle(); n != 0 {
			t.Errorf("%d idle after all their time", n)
		}
		put()
		d.close()
		put()
		if idle() != 0 {
			t.Error("kept by what is closed")
		}
		for i, other := range others {
			if _, err := other.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("connection %d is open", i)
			}
		}
	})
}

// What plainAnswer takes, http.ReadResponse reads alike; what it does not take it
// leaves where it is.
func FuzzPlainAnswer(f *testing.F) {
	for _, head := range []string{
		plainAnswer,
		"HTTP/1.1 404 \r\nContent-Length: 3\r\nset-cookie: a=b\r\nSet-Cookie: c\r\nX-Empty:\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n folded\r\n\r\nok",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + plainAnswer,
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	} {
		f.Add(head)
	}
	f.Fuzz(func(t *testing.T, head string) {
		in := bufio.NewReaderSize(strings.NewReader(head), directBuffer)
		req := &http.Request{Method: http.MethodGet}
		got := (&directConn{in: in}).plainAnswer(req)
		rest, _ := io.ReadAll(in)
		if got == nil {
			if string(rest) != head {
				t.Errorf("%q of %q is left", rest, head)
			}
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(head)), req)
		if err != nil {
			t.Fatalf("%q is no answer: %v", head, err)
		}
		if got.StatusCode != want.StatusCode || got.ContentLength != want.ContentLength || !maps.EqualFunc(got.Header, want.Header, slices.Equal) || got.Close != want.Close {
			t.Errorf("%q: %v, and to net/http %v", head, got, want)
		}
		body, _ := io.ReadAll(want.Body)
		if !strings.HasPrefix(string(rest), string(body)) {
			t.Errorf("%q: the body begins with %q", head, rest)
		}
	})
}
