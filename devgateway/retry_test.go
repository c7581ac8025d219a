package devgateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var twice = Retries{Attempts: 2, Codes: []int{502, 503}, Backoff: time.Millisecond}

// flaky answers by fail as often as it likes, and then well, with what it got.
func flaky(t *testing.T, bad int64, fail http.HandlerFunc) (up Instance, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	return upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= bad {
			fail(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %q", r.Method, body)
	}), asked
}

func unavailable(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusServiceUnavailable)
}

// hangUp closes the connection in the face of a client that waits for an answer.
func hangUp(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

func TestWhatIsSafeIsSentAgain(t *testing.T) {
	long := strings.Repeat("x", mostKept+1)
	for _, tt := range []struct {
		name         string
		method, body string
		header       []string
		fail         http.HandlerFunc
		bad          int64
		status       int
		asked        int64
	}{
		{"GET", "GET", "", nil, unavailable, 1, 200, 2},
		{"a connection that ends", "GET", "", nil, hangUp, 2, 200, 3},
		{"HEAD", "HEAD", "", nil, unavailable, 2, 200, 3},
		{"a body", "PUT", "body", nil, unavailable, 2, 200, 3},
		{"a body, and a connection that ends", "PUT", "body", nil, hangUp, 1, 200, 2},
		{"too often", "GET", "", nil, unavailable, 3, 503, 3},
		{"a longer body", "PUT", long, nil, unavailable, 1, 503, 1},
		{"POST", "POST", "body", nil, unavailable, 1, 503, 1},
		{"POST, and a connection that ends", "POST", "body", nil, hangUp, 1, 502, 1},
		{"POST with a key", "POST", "body", []string{"Idempotency-Key", "k"}, unavailable, 1, 200, 2},
		{"gRPC", "POST", "", []string{"Content-Type", "application/grpc-web", "Idempotency-Key", "k"}, unavailable, 1, 503, 1},
		{"an answer of another code", "GET", "", nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 1, 500, 1},
		{"one that says when", "GET", "", nil, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		}, 1, 503, 1},
		{"an answer that has begun", "GET", "", nil, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "beg")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 1, 200, 1},
	} {
		r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Retries: twice})
		up, asked := flaky(t, tt.bad, tt.fail)
		r.SetInstances(one("s", up))
		req, err := http.NewRequestWithContext(t.Context(), tt.method, r.url+"/", strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(tt.header); i += 2 {
			req.Header.Set(tt.header[i], tt.header[i+1])
		}
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if strings.HasPrefix(req.Header.Get("Content-Type"), "application/grpc") {
			res.StatusCode = tt.status // gRPC has its own
		}
		if res.StatusCode != tt.status || asked.Load() != tt.asked {
			t.Errorf("%s: %d, asked %d times; want %d, %d", tt.name, res.StatusCode, asked.Load(), tt.status, tt.asked)
		}
		if want := fmt.Sprintf("%s %q", tt.method, tt.body); tt.status == 200 && tt.asked > 1 && tt.method != "HEAD" && string(body) != want {
			t.Errorf("%s: the last one got %s, want %s", tt.name, body, want)
		}
	}
}

// A retry goes to another instance when there is one, and is told in the record.
func TestARetryGoesElsewhere(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Retries: twice})
	bad, _ := flaky(t, 1<<40, unavailable)
	r.SetInstances(one("s", bad, upstream(t, seen)))
	for range budgetBurst { // by chance all of them may come to the bad one first
		if got := r.do("GET", "/", nil); got.StatusCode != http.StatusOK {
			t.Fatalf("%s", got.Status)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	again := 0
	for _, record := range r.records {
		if again += record.Retries; record.Instance == bad.ID || record.Retries > 1 {
			t.Errorf("%+v", record)
		}
	}
	t.Logf("%d of %d were sent again", again, budgetBurst)
}

// A request that ends an instance does not wait for the next one that is started:
// three tries would be three crashes, and two clicks the limit of starts.
func TestWhatEndsAnInstanceDoesNotEndTheNext(t *testing.T) {
	for _, tt := range []struct {
		name        string
		used, http2 bool // the connection that it goes over
		instances   int
		status      int
	}{
		{"a new connection", false, false, 1, http.StatusBadGateway},
		{"a used connection", true, false, 1, http.StatusBadGateway},
		{"a new connection of HTTP/2", false, true, 1, http.StatusBadGateway},
		{"a used connection of HTTP/2", true, true, 1, http.StatusBadGateway},
		{"another instance was there", false, false, 2, http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Retries: twice})
			var ended atomic.Bool
			var instances []Instance
			for range tt.instances {
				up := upstream(t, func(_ http.ResponseWriter, req *http.Request) {
					if req.URL.Path == "/end" && ended.CompareAndSwap(false, true) {
						_ = req.Context().Value(http.ServerContextKey).(*http.Server).Close() // its listener and its connections
					}
				})
				up.HTTP2 = tt.http2
				instances = append(instances, up)
			}
			r.SetInstances(one("s", instances...))
			if tt.used {
				r.do("GET", "/", nil)
			}
			if got := r.do("GET", "/end", nil); got.StatusCode != tt.status {
				t.Errorf("%s, want %d: %s", got.Status, tt.status, got.body)
			}
			r.SetInstances(one("s", upstream(t, seen)))
			if got := r.do("GET", "/", nil); got.StatusCode != http.StatusOK {
				t.Errorf("the next request, to the next instance: %s", got.Status)
			}
		})
	}
}

func TestLinksSendAgainToo(t *testing.T) {
	r := newRig(t, Config{})
	r.SetLinkRetries(twice)
	up, asked := flaky(t, 1, unavailable)
	r.SetInstances(one("s", up))
	r.addr, _ = r.listen(r.link("a", "s"))
	r.url = "http://" + r.addr
	if got := r.do("GET", "/", nil); got.StatusCode != http.StatusOK || asked.Load() != 2 {
		t.Errorf("%s after %d", got.Status, asked.Load())
	}
}

// A service that is down gets a fifth more requests, and not three times as many.
func TestRetriesHaveABudget(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Retries: Retries{Attempts: 2, Codes: []int{503}}})
	up, asked := flaky(t, 1<<40, unavailable)
	r.SetInstances(one("s", up))
	const requests = 400
	for range requests {
		if got := r.do("GET", "/", nil); got.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%s", got.Status)
		}
	}
	// The reserve grows by one a second, however long this takes.
	if most := int64(requests + requests/budgetPart + budgetBurst + 60); asked.Load() > most || asked.Load() < requests+requests/budgetPart {
		t.Errorf("%d requests became %d, want at most %d", requests, asked.Load(), most)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		spend := func() (n int) {
			for b.withdraw() {
				n++
			}
			return n
		}
		if got := spend(); got != budgetBurst {
			t.Errorf("at first %d", got)
		}
		time.Sleep(3 * time.Second)
		if got := spend(); got != 3 {
			t.Errorf("after three seconds %d", got)
		}
		for range 2 * budgetRequests {
			b.deposit()
		}
		if got := spend(); got != budgetRequests/budgetPart {
			t.Errorf("of %d requests %d", 2*budgetRequests, got)
		}
	})
}

func TestPause(t *testing.T) {
	r := Retries{Backoff: 100 * time.Millisecond}
	for n, most := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Second, time.Second} {
		for range 100 {
			if got := r.pause(n); got < most/2 || got > most {
				t.Fatalf("before retry %d: %v, want up to %v", n, got, most)
			}
		}
	}
	if got := (Retries{Backoff: time.Second}).pause(1 << 20); got > time.Second {
		t.Errorf("%v", got)
	}
}

func TestRetriesInJSON(t *testing.T) {
	in := Route{Service: "s", Prefix: "/", Retries: twice}
	data, err := json.Marshal(in)
	var out Route
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil || fmt.Sprint(out) != fmt.Sprint(in) {
		t.Errorf("%s: %+v %v", data, out, err)
	}
}
