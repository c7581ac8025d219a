package devgateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// malformedRequests are requests that RFC 9112 calls malformed, or that two
// readers could understand in two ways. Each would smuggle /smuggled past a
// reader that takes it for something else.
func malformedRequests() map[string]string {
	all := map[string]string{}
	const host, smuggled = "Host: localhost\r\n", "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
	heads := func(what string, fields ...string) {
		for _, f := range fields {
			all[fmt.Sprintf("%s %q first", what, f)] = "POST / HTTP/1.1\r\n" + f + "\r\n" + host + "\r\n" + smuggled
			all[fmt.Sprintf("%s %q last", what, f)] = "POST / HTTP/1.1\r\n" + host + f + "\r\n\r\n" + smuggled
		}
	}
	var lengths []string
	for _, n := range []string{"", "-1", "+1", "0x3", "1_0", "1 0", "1,1", "5, 5", "1.0", "1e1", "a", "٣", "9999999999999999999", "5;", "\x0b5", "5\x0c"} {
		lengths = append(lengths, "Content-Length: "+n)
	}
	heads("length", lengths...)
	heads("two lengths", "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6", "content-length: 0\r\nCONTENT-LENGTH: 0")
	var codings []string
	for _, c := range []string{"", "gzip", "identity", "xchunked", "chunked, chunked", "chunked, identity", "gzip, chunked", ", chunked", "chunked,", "\"chunked\"", "chunked;a=b", "\x0bchunked", "chun ked"} {
		codings = append(codings, "Transfer-Encoding: "+c)
	}
	heads("coding", codings...)
	heads("coding and length", "Transfer-Encoding: chunked\r\nContent-Length: 0", "Content-Length: 4\r\nTransfer-Encoding: chunked",
		"transfer-encoding: CHUNKED\r\ncontent-length: 1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")
	var names []string
	for _, name := range []string{"", " ", "A ", "A\t", " A", "\tA", "A B", "A\x00", "A\x7f", "Content-Length ", "Transfer-Encoding ", "A(", "A,B", "A/B", "A;B", "A<", "A=", "A?", "A@", "A[", "A\\", "A{", "A}", "A>", "A]", "A)", "A\x80", "A\xff", "\"", "A\"B", "A\x1f", "A\x08", "(A)", "[A]", "Host localhost", "Ä", "\"A\""} {
		names = append(names, name+": x")
	}
	heads("name", names...)
	heads("no colon", "A", "A B", "Content-Length 5", "Transfer-Encoding\tchunked")
	var values []string
	for _, v := range []string{"a\x00b", "a\rb", "a\x01b", "a\x0bb", "a\x0cb", "a\x1bb", "a\x7fb", "\x00", "a\r", "\ra"} {
		values = append(values, "A: "+v)
	}
	heads("value", values...)
	heads("folded", "A: a\r\n b", "A: a\r\n\tb", "A: a\r\n Content-Length: 5", "Transfer-Encoding:\r\n chunked")
	heads("bare LF", "A: a\nB: b", "A: a\n", "A: a\nContent-Length: 5", "\nA: a", "A: a\r\r", "A: a\n\r")
	for _, line := range []string{"POST / HTTP/1.1\n", "POST  / HTTP/1.1\r\n", "POST /  HTTP/1.1\r\n", "POST / HTTP/1.1 \r\n", " POST / HTTP/1.1\r\n", "POST\t/ HTTP/1.1\r\n", "POST / HTTP/1.2\r\n",
		"POST / HTTP/2.0\r\n", "POST / HTTP/0.9\r\n", "POST / http/1.1\r\n", "POST / HTTP/1\r\n", "POST / HTTP/1.10\r\n", "POST / HTTP/11\r\n", "POST /\r\n", "POST\r\n", "/ HTTP/1.1\r\n", "P(ST / HTTP/1.1\r\n",
		"POST /a b HTTP/1.1\r\n", "POST /\x00 HTTP/1.1\r\n", "POST /\x01 HTTP/1.1\r\n", "POST /\r HTTP/1.1\r\n", "POST / HTTP/1.1\x00\r\n", "POST / HTTPS/1.1\r\n", "\r\nPOST / HTTP/1.1\r\n", "\nPOST / HTTP/1.1\r\n",
		"\x00POST / HTTP/1.1\r\n", "PRI * HTTP/1.1x\r\n", "POST / HTTP/1.1\r\r\n"} {
		all[fmt.Sprintf("request line %q", line)] = line + host + "\r\n" + smuggled
	}
	for _, h := range []string{"", "Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nhost: evil\r\n", "Host : localhost\r\n"} {
		all[fmt.Sprintf("host %q", h)] = "GET / HTTP/1.1\r\n" + h + "\r\n" + smuggled
	}
	all["coding in HTTP/1.0"] = "POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
	for _, end := range []string{"\n", "\r\r\n", "\n\r\n", " \r\n"} {
		all[fmt.Sprintf("end of the head %q", end)] = "GET / HTTP/1.1\r\n" + host + end + smuggled
	}
	const chunked = "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n"
	for _, body := range malformedChunks() {
		all[fmt.Sprintf("chunks %q", body)] = chunked + body + smuggled
		all[fmt.Sprintf("chunks %q after a good one", body)] = chunked + "2\r\nok\r\n" + body + smuggled
	}
	return all
}

func malformedChunks() []string {
	var bodies []string
	for _, size := range []string{"", "0x3", "0X3", "-1", "+3", "3_", "g", " 3", "\t3", "3 3", "3,", "\"3\"", "3\x00", "ffffffffffffffff", "10000000000000000", "3\x0b", "3\r", "3 \x00;a"} {
		bodies = append(bodies, size+"\r\nabc\r\n0\r\n\r\n")
	}
	return append(bodies,
		"3\nabc\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc\r\n0\n\r\n", "3\r\nabc\r\n0\r\n\n", "3\r\nabcd\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n",
		"3\r\nabc\r\r\n0\r\n\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n", "3;a=\x00\r\nabc\r\n0\r\n\r\n", "0\r\nA\r\n\r\n", "0\r\nA : b\r\n\r\n", "0\r\n A: b\r\n\r\n", "0\r\nA: b\n\r\n", "0\r\nA: \x00\r\n\r\n", "0\r\n\r", "3\r\nabc\r\n\r\n0\r\n\r\n")
}

// TestMalformedRequests sends each over a connection of its own: the answer is
// 400, the connection is closed, and what was hidden behind the request never
// arrives.
func TestMalformedRequests(t *testing.T) {
	if n := len(malformedRequests()); n < 300 {
		t.Errorf("only %d requests", n)
	}
	t.Run("TCP", func(t *testing.T) { refuses(t, newRig, 16) })
	t.Run("TLS", func(t *testing.T) { refuses(t, newTLSRig, 8) })
}

// refuses sends all malformed requests, so many at once.
func refuses(t *testing.T, rigOf func(*testing.T, Config, ...Route) *rig, atOnce int) {
	requests := malformedRequests()
	var mu sync.Mutex
	arrived := []string{}
	r := rigOf(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) {
		_, err := io.Copy(io.Discard, req.Body)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			arrived = append(arrived, req.Method+" "+req.URL.Path)
		}
	})))
	var sending sync.WaitGroup
	limit := make(chan struct{}, atOnce)
	for name, request := range requests {
		for _, pieces := range []int{len(request), 1} {
			limit <- struct{}{}
			sending.Go(func() {
				defer func() { <-limit }()
				statuses, closed := converse(t, r.dial, request, pieces)
				if len(statuses) != 1 || statuses[0] != http.StatusBadRequest || !closed {
					t.Errorf("%s, in pieces of %d: answers %v, closed: %v", name, pieces, statuses, closed)
				}
			})
		}
	}
	sending.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(arrived) > 0 {
		t.Errorf("%d requests arrived: %v", len(arrived), arrived)
	}
}

// converse sends a request in pieces and returns the statuses of all answers, and
// whether the connection was closed then.
func converse(t *testing.T, dial func() (net.Conn, error), request string, pieces int) (statuses []int, closed bool) {
	conn, err := dial()
	if err != nil {
		t.Error(err)
		return nil, false
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Error(err)
	}
	go func() {
		for piece := range slices.Chunk([]byte(request), pieces) {
			if _, err := conn.Write(piece); err != nil {
				return // closed in its face
			}
		}
	}()
	r := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses, !isTimeout(err)
		}
		statuses = append(statuses, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return statuses, !isTimeout(err)
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// TestWellFormedRequests: what looks odd and is right passes, in whatever pieces
// it comes.
func TestWellFormedRequests(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(w, req.Body)
	})))
	const host = "Host: localhost\r\n"
	requests := []string{
		"GET / HTTP/1.1\r\n" + host + "\r\n",
		"GET / HTTP/1.1\r\nhost:localhost\r\nA:\r\nB: \t b \t\r\nC: \xff\xfe\r\n!#$%&'*+-.^_`|~: d\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 0003\r\n\r\na\nb",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: ChunKed\r\n\r\n3\r\nabc\r\n00A;ext=\"v\"\r\n0123456789\r\n000\r\nX-T: 1\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\tchunked \r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n",
	}
	all := strings.Join(requests, "")
	for _, pieces := range []int{len(all), 1, 7} {
		statuses, closed := converse(t, r.dial, all, pieces)
		if len(statuses) != len(requests) || slices.Max(statuses) != 200 || !closed {
			t.Errorf("in pieces of %d: %v, closed: %v", pieces, statuses, closed)
		}
	}
}

// A head has 32 KiB to the byte, its last line included: in one piece and in many, on
// a connection that has carried requests, as one long line and as some.
func TestHeadsThatAreTooLong(t *testing.T) {
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, seen)))
	head := func(size int, first string) string {
		text := first + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
		for size-len(text) > 9<<10 {
			text += "X-A: " + strings.Repeat("a", 8<<10) + "\r\n"
		}
		return text + "X-B: " + strings.Repeat("b", size-len(text)-len("X-B: \r\n\r\n")) + "\r\n\r\n"
	}
	const before = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, first := range map[string]string{"headers": "GET /", "a query": "GET /?" + strings.Repeat("q", 20<<10)} {
		for size, want := range map[int]int{maxHeaderBytes - 1: 200, maxHeaderBytes: 200, maxHeaderBytes + 1: 431, maxHeaderBytes + slack + 36: 431, 2 * maxHeaderBytes: 431} {
			for _, pieces := range []int{100, 4 << 10, 1 << 20} {
				for _, warm := range []string{"", before, strings.Repeat(before, 90)} {
					statuses, _ := converse(t, r.dial, warm+head(size, first), pieces)
					if len(statuses) != strings.Count(warm, "GET")+1 || statuses[len(statuses)-1] != want {
						t.Errorf("%d bytes of %s in pieces of %d after %d bytes: %v, want %d", size, name, pieces, len(warm), statuses, want)
					}
				}
			}
		}
	}
}

// FuzzWire holds scan against itself, in pieces, and against net/http: what both
// take for a request must end at the same byte.
func FuzzWire(f *testing.F) {
	for _, request := range malformedRequests() {
		f.Add([]byte(request), 3)
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 5)
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		_, verdict := (&wire{}).scan(data)
		pieces, v := &wire{}, wireGood
		for piece := range slices.Chunk(data, max(1, size%64)) {
			if _, v = pieces.scan(piece); v != wireGood {
				break
			}
		}
		if v != verdict {
			t.Fatalf("%q: %d at once, %d in pieces", data, verdict, v)
		}
		compare(t, data)
	})
}

// compare reads requests by net/http, and holds where each ends against where
// wire begins the next.
func compare(t *testing.T, data []byte) {
	counted := &counting{r: bytes.NewReader(data)}
	r := bufio.NewReader(counted)
	w, at := &wire{}, 0
	for at < len(data) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return // net/http refuses it
		}
		_, err = io.Copy(io.Discard, req.Body)
		if err != nil {
			return
		}
		end := counted.n - r.Buffered()
		if _, verdict := w.scan(data[at:end]); verdict != wireGood {
			return // refused, or HTTP/2
		}
		if w.at != atStart {
			t.Fatalf("%q: net/http ends a request at %d, wire is at %d there", data, end, w.at)
		}
		at = end
	}
}

type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
