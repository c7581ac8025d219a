package devgateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestLimit(t *testing.T) {
	l, at := newLimiter(Limit{Requests: 3, Per: 30 * time.Second}), time.Now()
	for i := range 3 {
		if wait := l.allow("a", at); wait > 0 {
			t.Errorf("request %d waits %v", i, wait)
		}
	}
	if wait := l.allow("a", at); wait != 10*time.Second {
		t.Errorf("the fourth waits %v", wait)
	}
	if wait := l.allow("b", at); wait > 0 {
		t.Error("one sender pays for another")
	}
	if wait := l.allow("a", at.Add(10*time.Second)); wait > 0 {
		t.Errorf("after ten seconds: %v", wait)
	}
	if newLimiter(Limit{}) != nil {
		t.Error("no limit is one")
	}
}

func TestLimitForgets(t *testing.T) {
	l, at := newLimiter(Limit{Requests: 1, Per: time.Second}), time.Now()
	for i := range 3 * mostSenders {
		l.allow(fmt.Sprint(i), at)
	}
	if len(l.senders) > mostSenders {
		t.Errorf("%d senders are kept", len(l.senders))
	}
}

func TestRateLimitOfARoute(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthOptional, Limit: Limit{Requests: 2, Per: time.Hour}})
	r.SetInstances(one("s", upstream(t, seen)))
	for _, sender := range []string{"", "Authorization: Bearer alice\n", "Authorization: Bearer admin\n"} {
		for i, want := range []int{200, 200, 429} {
			got := r.raw("GET / HTTP/1.1\nHost: " + r.addr + "\n" + sender + "\n")
			if got.StatusCode != want || want == 429 && got.Header.Get("Retry-After") != "1800" {
				t.Errorf("%q, request %d: %d, Retry-After %q", sender, i, got.StatusCode, got.Header.Get("Retry-After"))
			}
		}
	}
	data, err := json.Marshal(r.Routes())
	var back []Route
	if err == nil {
		err = json.Unmarshal(data, &back)
	}
	if err != nil || back[0].Limit != (Limit{2, time.Hour}) {
		t.Errorf("%s: %v %v", data, back, err)
	}
}

func TestCORS(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Methods: []string{"POST"}})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
	})))
	preflight := func(origin string) reply {
		return r.raw("OPTIONS /x HTTP/1.1\nHost: " + r.addr + "\nOrigin: " + origin + "\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization\n\n")
	}
	call := func(origin, token string) reply {
		return r.raw("POST /x HTTP/1.1\nHost: " + r.addr + "\nOrigin: " + origin + "\nContent-Length: 0\n" + token + "\n")
	}
	const page, alice = "http://localhost:5173", "Authorization: Bearer alice\n"
	if got := preflight(page); got.StatusCode < 400 {
		t.Errorf("without a list: %d", got.StatusCode)
	}
	r.SetCORS([]string{page})
	if got := preflight(page); got.StatusCode != 204 || got.Header.Get("Access-Control-Allow-Origin") != page || got.Header.Get("Access-Control-Allow-Headers") != "authorization" {
		t.Errorf("preflight: %d %v", got.StatusCode, got.Header)
	}
	for _, evil := range []string{"http://evil.example", "http://localhost:5173.evil.example", "null", "https://localhost:5173"} {
		if got := preflight(evil); got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", evil, got.Header)
		}
		if got := call(evil, alice); got.StatusCode != 403 || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may call or read: %d %v", evil, got.StatusCode, got.Header)
		}
	}
	if got := call(page, alice); got.StatusCode != 200 || len(got.Header["Access-Control-Allow-Origin"]) != 1 || got.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
	// The page may read why it was refused.
	if got := call(page, ""); got.StatusCode != 401 || got.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
	r.SetCORS([]string{"*"})
	if got := call("http://any.example", alice); got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("any: %v", got.Header)
	}
}

// What comes before an answer does not take its headers away.
func TestCORSBehindInterimAnswers(t *testing.T) {
	const page = "http://localhost:5173"
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "done")
	})))
	r.SetCORS([]string{page})
	if got := r.do("GET", "/", nil, "Origin", page); got.body != "done" || got.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%q %v", got.body, got.Header)
	}
}
