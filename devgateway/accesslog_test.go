package devgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

func observed(l *AccessLog, callee string, n int) {
	for i := range n {
		l.Observe(Record{Start: time.Unix(int64(i), 0), Caller: outside, Callee: callee, Method: "GET", Path: fmt.Sprint("/", i), Status: 200})
	}
}

// recent are the paths that a query finds.
func recent(t *testing.T, l *AccessLog, q AccessQuery) (paths []string) {
	t.Helper()
	if err := l.Follow(t.Context(), q, false, func(lines []AccessLine) error {
		for _, line := range lines {
			paths = append(paths, line.Path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestAccessLogFinds(t *testing.T) {
	var l AccessLog
	observed(&l, "cart", 3)
	l.Observe(Record{Start: time.Unix(9, 0), Caller: "cart", Callee: "profile", Path: "/p", Status: 503, Cause: "profile has no healthy instance"})
	for want, q := range map[string]AccessQuery{
		"[/0 /1 /2 /p]": {}, "[/p]": {Services: []string{"profile"}}, "[/0 /1 /2 /p] ": {Services: []string{"cart"}}, // as a caller, too
		"[/2 /p]": {Last: 2}, "[/1 /2 /p]": {Since: time.Unix(1, 0)}, "[/p] ": {Grep: regexp.MustCompile("503.*healthy")}, "[]": {Services: []string{"none"}},
	} {
		if got := fmt.Sprint(recent(t, &l, q)); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %s, want %s", q, got, want)
		}
	}
}

func TestAccessLogForgetsTheOldest(t *testing.T) {
	var l AccessLog
	const n = 3*blockSize*mostBlocks + 7
	observed(&l, "s", n)
	got := recent(t, &l, AccessQuery{})
	if len(got) > blockSize*mostBlocks || len(got) < blockSize*(mostBlocks-1) || got[len(got)-1] != fmt.Sprint("/", n-1) {
		t.Errorf("%d are kept, the last is %s", len(got), got[len(got)-1])
	}
}

// A follower that does not read holds nobody up, and is told what it missed.
func TestASlowFollowerMissesRecords(t *testing.T) {
	var l AccessLog
	l.Observe(Record{Path: "/first"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	entered, release := make(chan struct{}), make(chan struct{})
	const n = 3 * followQueue
	got, missed, last := 0, 0, ""
	done := make(chan error)
	go func() {
		done <- l.Follow(ctx, AccessQuery{}, true, func(lines []AccessLine) error {
			if lines[0].Path == "/first" {
				close(entered)
				<-release // a frozen viewer
				return nil
			}
			for _, line := range lines {
				got, missed, last = got+1, missed+line.Missed, line.Path
			}
			if last == "/end" {
				return errEnough
			}
			return nil
		})
	}()
	<-entered
	observed(&l, "s", n)
	close(release)
	for {
		l.Observe(Record{Path: "/end"}) // one of them finds room
		select {
		case err := <-done:
			if !errors.Is(err, errEnough) || got+missed < n || missed < n-followQueue-1 {
				t.Errorf("%v: got %d, missed %d, the last is %s", err, got, missed, last)
			}
			return
		default:
		}
	}
}

// A follower that asks for some records alone is told what it missed before the next
// of them.
func TestWhatIsFilteredOutTakesNoCountWithIt(t *testing.T) {
	var l AccessLog
	entered, release := make(chan struct{}), make(chan struct{})
	missed, done := 0, make(chan error)
	go func() {
		first := true
		done <- l.Follow(t.Context(), AccessQuery{Services: []string{"wanted"}}, true, func(lines []AccessLine) error {
			if first {
				first = false
				close(entered)
				<-release // a frozen viewer
				return nil
			}
			missed = lines[0].Missed
			return errEnough
		})
	}()
	<-entered
	observed(&l, "noise", followQueue+10)
	close(release)
	for {
		l.Observe(Record{Callee: "wanted"}) // one of them finds room
		select {
		case err := <-done:
			if !errors.Is(err, errEnough) || missed < 10 {
				t.Errorf("missed %d, %v", missed, err)
			}
			return
		default:
		}
	}
}

var errEnough = errors.New("enough")

// A batch ends with the last record that it holds: the one behind it is the next's.
func TestABatchLosesNothing(t *testing.T) {
	queue := make(chan Record, 2*followQueue)
	for range cap(queue) {
		queue <- Record{}
	}
	total := 0
	for q := (AccessQuery{}); len(queue) > 0; {
		total += len(q.gather(<-queue, queue))
	}
	if total != cap(queue) {
		t.Errorf("%d of %d", total, cap(queue))
	}
}

func TestAccessLineInJSON(t *testing.T) {
	in := AccessLine{Record{Start: time.Unix(1, 5).UTC(), Duration: 1500 * time.Millisecond, Caller: outside, Callee: "cart", Method: "GET", Path: "/x", Status: 200, Retries: 1}, 7}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"1970-01-01T00:00:01.000000005Z","caller":"gateway","callee":"cart","retries":1,"protocol":"","method":"GET","host":"","path":"/x","status":200,"request_bytes":0,"response_bytes":0,"trace_id":"","span_id":"","duration":1.5,"missed":7}`
	if string(data) != want {
		t.Errorf("%s", data)
	}
	var out AccessLine
	if err := json.Unmarshal(data, &out); err != nil || out != in {
		t.Errorf("%+v %v", out, err)
	}
}

func TestRecordAsText(t *testing.T) {
	for want, r := range map[string]Record{
		"gateway -> cart-1 POST /x 200 12.3ms 345B grpc 0 after 1 more alice": {Caller: outside, Callee: "cart", Instance: "cart-1", Method: "POST", Path: "/x", Status: 200, Duration: 12345 * time.Microsecond, ResponseBytes: 345, GRPC: "0", Retries: 1, Subject: "alice"},
		"gateway -> - GET /y 404 100µs 0B: no route":                          {Caller: outside, Method: "GET", Path: "/y", Status: 404, Duration: 100 * time.Microsecond, Cause: "no route"},
		"cart -> db-1 TCP - 0 1s 7B":                                          {Caller: "cart", Callee: "db", Instance: "db-1", Protocol: "TCP", Duration: time.Second, ResponseBytes: 7},
	} {
		if got := r.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// BenchmarkObserve is what the access log costs a request, with a follower.
func BenchmarkObserve(b *testing.B) {
	var l AccessLog
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- l.Follow(ctx, AccessQuery{}, true, func([]AccessLine) error { return nil }) }()
	r := Record{Start: time.Now(), Caller: outside, Callee: "cart", Method: "GET", Path: "/x", Status: 200}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Observe(r)
		}
	})
	cancel()
	<-done
}
