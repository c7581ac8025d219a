package devgateway

import (
	"encoding/json"
	"fmt"
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

// What was counted is not forgotten for a change of something else.
func TestLimitsOutliveTheirTable(t *testing.T) {
	limited := Route{Service: "s", Prefix: "/", Auth: AuthNone, Limit: Limit{Requests: 2, Per: time.Hour}}
	r := newRig(t, Config{}, limited)
	r.SetInstances(one("s", upstream(t, seen)))
	use := func(want ...int) {
		t.Helper()
		for _, status := range want {
			if got := r.do("GET", "/", nil); got.StatusCode != status {
				t.Errorf("%d, want %d", got.StatusCode, status)
			}
		}
	}
	use(200, 200, 429)
	r.setRoutes(limited, Route{Service: "s", Prefix: "/other", Auth: AuthNone})
	use(429)
	limited.Limit.Requests = 1
	r.setRoutes(limited)
	use(200, 429)
}
