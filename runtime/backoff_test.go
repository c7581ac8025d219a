package runtime

import (
	"testing"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

func TestBackoffDoublesWithJitterToItsBound(t *testing.T) {
	r := &restarts{policy: &manifest.Restart{}}
	want := 100 * time.Millisecond
	for range 12 {
		got := r.delay(time.Second)
		if low, high := time.Duration(float64(want)*0.8), time.Duration(float64(want)*1.2); got < low || got > high {
			t.Errorf("got %v, want about %v", got, want)
		}
		want = min(2*want, 10*time.Second)
	}
	if got := r.delay(time.Minute); got > 120*time.Millisecond {
		t.Errorf("after a long run: %v", got)
	}
}

func TestStartLimitCountsWithinTheWindow(t *testing.T) {
	r := &restarts{policy: &manifest.Restart{}}
	at := time.Now()
	for i := range 5 {
		if r.exhausted(at) {
			t.Errorf("too many after %d", i)
		}
		r.started(at)
		at = at.Add(time.Second)
	}
	if !r.exhausted(at) {
		t.Error("five starts in five seconds are not too many")
	}
	if at = at.Add(time.Minute); r.exhausted(at) {
		t.Error("starts of a minute ago count")
	}
}

func TestPolicies(t *testing.T) {
	for _, tt := range []struct {
		policy string
		code   int
		want   bool
	}{{"always", 0, true}, {"always", 1, true}, {"on-failure", 0, false}, {"on-failure", 1, true}, {"never", 1, false}} {
		r := &restarts{policy: &manifest.Restart{Policy: tt.policy}}
		if got := r.wanted(tt.code); got != tt.want {
			t.Errorf("%s after %d: %v", tt.policy, tt.code, got)
		}
	}
}
