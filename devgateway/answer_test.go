package devgateway

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answering is a rig before an instance that answers the requests of a connection one
// after the other with these bytes.
func answering(t *testing.T, answers ...string) (*rig, *scripted) {
	t.Helper()
	s := newScripted(t, answers...)
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", Instance{ID: "s-1", Addr: s.ln.Addr().String()}))
	return r, s
}

func TestManyInterimAnswers(t *testing.T) {
	r, _ := answering(t, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 50)+plainAnswer)
	answer := r.talk("GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n")
	if n := strings.Count(answer, "HTTP/1.1 102 Processing\r\n"); n != 50 || !strings.HasSuffix(answer, "\r\n\r\nok") {
		t.Errorf("%d of them, and then %q", n, answer[max(0, len(answer)-200):])
	}
}

// An answer of 1xx is cleaned like any other, and is none to a client of HTTP/1.0.
func TestInterimAnswersAreCleaned(t *testing.T) {
	const hint = "HTTP/1.1 103 Early Hints\r\nConnection: X-Secret\r\nX-Secret: s\r\nKeep-Alive: 5\r\nX-Forwarded-User: eve\r\nAccess-Control-Allow-Origin: *\r\nLink: </s.css>\r\n\r\n"
	r, _ := answering(t, hint+plainAnswer, hint+plainAnswer)
	r.setCORS(CORS{Origins: []string{"http://localhost:5173"}})
	answer := r.talk("GET / HTTP/1.1\nHost: localhost\nOrigin: http://localhost:5173\nConnection: close\n\n")
	if head, _, _ := strings.Cut(answer, "\r\n\r\n"); head != "HTTP/1.1 103 Early Hints\r\nLink: </s.css>" {
		t.Errorf("%q", head)
	}
	if answer := r.talk("GET / HTTP/1.0\nHost: localhost\n\n"); !strings.HasPrefix(answer, "HTTP/1.0 200 OK\r\n") {
		t.Errorf("HTTP/1.0: %q", answer)
	}
}

func TestQueryIsSentAsItCame(t *testing.T) {
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, req.URL.RawQuery) })))
	for _, query := range []string{"", "filter=a;b", "b=2&a=1", "x=%zz&y", "a=+&a=%20", strings.Repeat("a&", 11_000)} {
		if got := r.raw("GET /?" + query + " HTTP/1.1\nHost: localhost\n\n"); got.body != query {
			t.Errorf("%q arrived as %q", query, got.body)
		}
	}
}

func TestStatusThatIsNone(t *testing.T) {
	r, _ := answering(t, "HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n")
	if got := r.do("POST", "/", nil); got.StatusCode != http.StatusBadGateway || !strings.Contains(got.body, "status") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// The record of an answer that is not whole says so.
func TestBrokenAnswersHaveACause(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot whole!":         "broke off after 9 bytes: it closed the connection",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nok\r\n": "broke off after 0 bytes: invalid byte in chunk length",
	} {
		r, _ := answering(t, answer)
		_ = r.talk("GET / HTTP/1.1\nHost: localhost\nConnection: close\n\n")
		if err := r.recorded("/", 1); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		if cause := r.records[0].Cause; !strings.Contains(cause, want) {
			t.Errorf("%q: %q", answer, cause)
		}
		r.mu.Unlock()
	}
}

// What has come of an answer goes on, whether it has a length or not.
func TestAnswersComeAsTheyAreSent(t *testing.T) {
	for _, head := range []string{"Content-Length: 2\n", ""} {
		more := make(chan struct{})
		r := newRig(t, Config{}, open1...)
		r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			if head != "" {
				w.Header().Set("Content-Length", "2")
			}
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
			<-more
			_, _ = io.WriteString(w, "b")
		})))
		conn := r.send("GET / HTTP/1.1\nHost: localhost\n\n")
		defer conn.Close()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		_, err = io.ReadFull(res.Body, first)
		close(more)
		rest, _ := io.ReadAll(res.Body)
		if string(first)+string(rest) != "ab" || err != nil {
			t.Errorf("%q, %q, %v", first, rest, err)
		}
	}
}

// An answer does not wait for ever for the rest of a body that nobody reads.
func TestAnswersBeforeTheBody(t *testing.T) {
	impatience := limits{time.Minute, time.Minute, 300 * time.Millisecond}
	r := newRig(t, Config{limits: &impatience}, Route{Service: "s", Prefix: "/", Auth: AuthNone}, Route{Service: "s", Prefix: "/private/"}, Route{Static: t.TempDir(), Prefix: "/files/"})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(http.StatusConflict)
	})))
	for _, framing := range []string{"Content-Length: 100000", "Transfer-Encoding: chunked"} {
		for path, want := range map[string]int{"POST /": http.StatusConflict, "POST /private/": http.StatusUnauthorized, "GET /files/x": http.StatusUnauthorized, "GET /.mesh/health": http.StatusOK} {
			if got := r.raw(path + " HTTP/1.1\nHost: localhost\n" + framing + "\n\n"); got.StatusCode != want {
				t.Errorf("%s %s: %d", framing, path, got.StatusCode)
			}
		}
	}
}

// Trailers beside a length, which HTTP/2 has, reach a client of HTTP/1.1: in chunks.
func TestTrailersBesideALength(t *testing.T) {
	r := newRig(t, Config{}, open1...)
	in := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-A")
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "hi")
		w.Header().Set("X-A", "1")
	})
	in.HTTP2 = true
	r.SetInstances(one("s", in))
	for _, client := range []*http.Client{r.client, r.h2} {
		got := read(t, begin(t.Context(), t, client, "GET", r.url+"/", nil))
		if got.body != "hi" || got.Trailer.Get("X-A") != "1" {
			t.Errorf("%s: %q %v", got.Proto, got.body, got.Trailer)
		}
	}
}

// An answer that has no content has no length either, whatever its service says.
func TestNoContentHasNoLength(t *testing.T) {
	r, _ := answering(t, "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n")
	for _, client := range []*http.Client{r.client, r.h2} {
		got := read(t, begin(t.Context(), t, client, "GET", r.url+"/", nil))
		if got.StatusCode != http.StatusNoContent || got.Header.Get("Content-Length") != "" {
			t.Errorf("%s: %d %v", got.Proto, got.StatusCode, got.Header)
		}
	}
}

// What Connection names is of that connection alone (RFC 9110, 7.6.1), also where it
// ends with the answer.
func TestNominatedHeadersStay(t *testing.T) {
	for _, head := range []string{"Connection: X-Hop, close\r\nX-Hop: 1", "X-Hop: 1\r\nconnection: close\r\nConnection: x-hop", "Connection: X-Hop\r\nX-Hop: 1"} {
		r, _ := answering(t, "HTTP/1.1 200 OK\r\n"+head+"\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok")
		got := r.do("GET", "/", nil)
		if got.body != "ok" || got.Header.Get("X-Hop") != "" || got.Header.Get("X-Kept") != "1" {
			t.Errorf("%q: %q %v", head, got.body, got.Header)
		}
	}
}
