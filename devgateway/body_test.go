package devgateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A body that comes slowly does not hold a connection that the instance ends
// meanwhile, as many servers do after seconds.
func TestAShortBodyHoldsNoConnection(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Retries: twice})
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	kept, ended := make(chan bool, 10), make(chan bool, 10)
	up.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateIdle:
			kept <- true
		case http.StateClosed:
			ended <- true
		}
	}
	up.Config.IdleTimeout = 50 * time.Millisecond
	up.Start()
	defer up.Close()
	r.SetInstances(one("s", Instance{ID: "s-1", Addr: up.Listener.Addr().String()}))
	if got := r.do("GET", "/", nil); got.StatusCode != http.StatusOK {
		t.Fatal(got.Status)
	}
	<-kept
	conn := r.send("POST / HTTP/1.1\nHost: localhost\nContent-Length: 6\n\nabc")
	defer conn.Close()
	<-ended
	answer := make([]byte, 12)
	if _, err := io.WriteString(conn, "def"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("%q %v", answer, err)
	}
}

// A body that is refused a connection at one instance goes to another.
func TestAShortBodyGoesElsewhere(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	up, _ := flaky(t, 0, nil)
	for _, h2 := range []bool{false, true} {
		up.HTTP2 = h2
		r.SetInstances(one("s", Instance{ID: "gone", Addr: "127.0.0.1:1", HTTP2: h2}, up))
		for range 5 { // by chance the other one may be asked first
			if got := r.do("POST", "/", strings.NewReader("body")); got.StatusCode != http.StatusOK || got.body != `POST "body"` {
				t.Errorf("%s %s", got.Status, got.body)
			}
		}
	}
}

// A client that does not send its body in time is told so in time, and no instance is
// blamed for it.
func TestATimeForBodies(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Timeout: 300 * time.Millisecond})
	r.SetOutliers(Outliers{Failures: 1, Base: time.Hour})
	drain := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	r.SetInstances(one("s", upstream(t, drain), upstream(t, drain)))
	for _, length := range []int{10, mostDirect + 1} {
		for _, head := range []string{"", "Connection: close\n"} {
			got := r.raw(fmt.Sprintf("POST / HTTP/1.1\nHost: localhost\nContent-Length: %d\n%s\nabc", length, head))
			if got.StatusCode != http.StatusRequestTimeout || !strings.Contains(got.body, "not there within 300ms") {
				t.Errorf("%d bytes %q: %s %s", length, head, got.Status, got.body)
			}
		}
		body, more := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(length)
		go func() { _, _ = io.WriteString(more, "abc") }()
		res, err := r.h2.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%d bytes over HTTP/2: %s", length, res.Status)
		}
		res.Body.Close()
		more.CloseWithError(errors.New("over"))
	}
	if out := r.Outliers(); len(out) > 0 {
		t.Errorf("left out: %+v", out)
	}
}

// A body that ends early is its sender's fault.
func TestABodyThatEndsEarly(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })))
	for _, length := range []int{10, mostDirect + 1} {
		conn := r.send(fmt.Sprintf("POST / HTTP/1.1\nHost: localhost\nContent-Length: %d\n\nabc", length))
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "ended before its length") {
			t.Errorf("%d bytes: %q %v", length, answer, err)
		}
		conn.Close()
	}
}
