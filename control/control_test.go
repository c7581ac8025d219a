package control

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/internal/broadcast"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a workspace of one service.
type fake struct {
	events broadcast.Topic[runtime.Event]
	now    runtime.Snapshot // guarded by events
	told   chan string
}

func newFake() *fake {
	return &fake{told: make(chan string, 10), now: runtime.Snapshot{Services: []runtime.Service{{Name: "cart"}},
		Instances: []runtime.Instance{{Service: "cart", Instance: "cart-1", State: runtime.Starting}}}}
}

func (f *fake) set(state runtime.State) {
	f.events.Update(func() (runtime.Event, bool) {
		e := runtime.Event{Instance: &runtime.Instance{Service: "cart", Instance: "cart-1", State: state}}
		f.now.Apply(e)
		return e, true
	})
}

func (f *fake) Status(context.Context) Status             { return Status{Name: "shop", PID: 7} }
func (f *fake) Snapshot(context.Context) runtime.Snapshot { return f.now }
func (f *fake) Subscribe() (now runtime.Snapshot, s *broadcast.Subscription[runtime.Event]) {
	s = f.events.Subscribe(2, func() { now = f.now.Clone() })
	return now, s
}
func (f *fake) FollowLogs(ctx context.Context, q logs.Query, follow bool, emit func([]logs.Line) error) error {
	if err := emit([]logs.Line{{Service: "cart", Line: "one"}, {Service: "cart", Line: "two"}}); err != nil {
		return err
	}
	if follow {
		<-ctx.Done()
	}
	return nil
}
func (f *fake) FollowAccess(_ context.Context, q devgateway.AccessQuery, _ bool, emit func([]devgateway.AccessLine) error) error {
	return emit([]devgateway.AccessLine{{Record: devgateway.Record{Callee: strings.Join(q.Services, ","), Duration: time.Second, Status: q.Last}, Missed: 3}})
}
func (f *fake) Routes() []devgateway.Route {
	return []devgateway.Route{{Service: "cart", Prefix: "/c/", Timeout: 5 * time.Second}}
}
func (f *fake) DeadEvents(_ context.Context, n int) ([]devbroker.DeadLetter, error) {
	return make([]devbroker.DeadLetter, n), nil
}
func (f *fake) OutsideEnv() map[string]string { return map[string]string{"A": "b"} }
func (f *fake) Environment(service string, reveal bool) (Environment, error) {
	if service != "cart" {
		return Environment{}, &manifest.UnknownService{Name: service, Known: []string{"cart"}}
	}
	return Environment{Values: map[string]string{"REVEALED": map[bool]string{true: "yes", false: "no"}[reveal]}}, nil
}
func (f *fake) Explain(context.Context, string) (Explanation, error) {
	return Explanation{Service: "cart", Next: "nothing"}, nil
}
func (f *fake) Steer(verb string, services []string) error {
	if verb == "explode" {
		return &Error{"no such order", CodeInvalid}
	}
	f.told <- verb + " " + strings.Join(services, ",")
	return nil
}
func (f *fake) RunTask(_ context.Context, name string) error { f.told <- "run " + name; return nil }
func (f *fake) Scale(string, int) error                      { return errors.New("it burns") }
func (f *fake) Apply(context.Context, ApplyRequest) (runtime.Plan, error) {
	return nil, manifest.Problems{{File: "mesh.yaml", Line: 1, Column: 2, Message: "is wrong"}}
}
func (f *fake) Token(_ context.Context, r TokenRequest) (string, error) {
	return "token of " + r.User, nil
}
func (f *fake) RotateKeys() (devidentity.Rotation, error) {
	return devidentity.Rotation{Key: "next"}, nil
}
func (f *fake) Shutdown(now bool) { f.told <- "shutdown" }

func served(t *testing.T, f *fake, path string) *Client {
	t.Helper()
	ln, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, ln, f) }()
	c := NewClient(path)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.http.CloseIdleConnections()
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Error("the socket is left behind")
		}
	})
	return c
}

func TestEveryCall(t *testing.T) {
	f := newFake()
	c, ctx := served(t, f, filepath.Join(t.TempDir(), "run", "control.sock")), t.Context()
	if s, err := c.Status(ctx); err != nil || s.PID != 7 || s.Name != "shop" {
		t.Errorf("%+v %v", s, err)
	}
	if s, err := c.Snapshot(ctx); err != nil || len(s.Instances) != 1 {
		t.Errorf("%+v %v", s, err)
	}
	if r, err := c.Routes(ctx); err != nil || r[0].Timeout != 5*time.Second {
		t.Errorf("%+v %v", r, err)
	}
	if e, err := c.Environment(ctx, "cart", true); err != nil || e.Values["REVEALED"] != "yes" {
		t.Errorf("%+v %v", e, err)
	}
	if e, err := c.OutsideEnv(ctx); err != nil || e["A"] != "b" {
		t.Errorf("%+v %v", e, err)
	}
	if l, err := c.DeadEvents(ctx, 2); err != nil || len(l) != 2 {
		t.Errorf("%+v %v", l, err)
	}
	if e, err := c.Explain(ctx, "cart"); err != nil || e.Next != "nothing" {
		t.Errorf("%+v %v", e, err)
	}
	if r, err := c.RotateKeys(ctx); err != nil || r.Key != "next" {
		t.Errorf("rotate: %+v %v", r, err)
	}
	if token, err := c.Token(ctx, TokenRequest{User: "alice"}); err != nil || token != "token of alice" {
		t.Errorf("%q %v", token, err)
	}
	for want, call := range map[string]func() error{
		"restart cart,web": func() error { return c.Steer(ctx, "restart", "cart", "web") },
		"run seed":         func() error { return c.RunTask(ctx, "seed") },
		"shutdown":         func() error { return c.Shutdown(ctx, false) },
	} {
		if err := call(); err != nil {
			t.Error(want, err)
		} else if got := <-f.told; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
	var lines []string
	err := c.Logs(ctx, logs.Query{}, false, func(l logs.Line) error { lines = append(lines, l.Line); return nil })
	if !errors.Is(err, ErrEnded) || strings.Join(lines, " ") != "one two" {
		t.Errorf("%v %v", lines, err)
	}
	var requests []devgateway.AccessLine
	err = c.Access(ctx, logs.Query{Services: []string{"a", "b"}, Last: 7}, true, func(l devgateway.AccessLine) error { requests = append(requests, l); return nil })
	if !errors.Is(err, ErrEnded) || len(requests) != 1 || requests[0].Callee != "a,b" || requests[0].Status != 7 || requests[0].Missed != 3 || requests[0].Duration != time.Second {
		t.Errorf("%+v %v", requests, err)
	}
}

func TestErrorsKeepTheirMeaning(t *testing.T) {
	c, ctx := served(t, newFake(), filepath.Join(t.TempDir(), "c.sock")), t.Context()
	var failed *Error
	for code, call := range map[string]func() error{
		CodeUnknown: func() error { _, err := c.Environment(ctx, "nope", false); return err },
		CodeInvalid: func() error { return c.Steer(ctx, "explode") },
		CodeFailed:  func() error { return c.Scale(ctx, "cart", 1) },
	} {
		if err := call(); !errors.As(err, &failed) || failed.Code != code {
			t.Errorf("%s: %v", code, err)
		}
	}
	if _, err := c.Apply(ctx, ApplyRequest{}); !errors.As(err, &failed) || failed.Message != "mesh.yaml:1:2: is wrong" || failed.Code != CodeInvalid {
		t.Errorf("%v", err)
	}
}

func TestWatchSeesEveryChangeAndTheEnd(t *testing.T) {
	f := newFake()
	c := served(t, f, filepath.Join(t.TempDir(), "c.sock"))
	go func() {
		// More than the subscription holds: what was missed comes as a snapshot.
		for range 50 {
			f.set(runtime.Unhealthy)
		}
		f.set(runtime.Healthy)
	}()
	err := c.Watch(t.Context(), func(s runtime.Snapshot) bool {
		return len(s.Instances) == 1 && s.Instances[0].State == runtime.Healthy
	})
	if err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = c.Watch(ctx, func(runtime.Snapshot) bool { cancel(); return false })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestADaemonThatEndsMeanwhile: one that takes the connection and is gone before the
// request is not running, and nobody else's.
func TestADaemonThatEndsMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	c := NewClient(path)
	large := TokenRequest{User: strings.Repeat("a", 1<<20)}
	for range 50 {
		if _, err := c.Token(t.Context(), large); !errors.Is(err, ErrNotRunning) {
			t.Fatal(err)
		}
	}
	ln.Close()
	<-ended
}

func TestSocket(t *testing.T) {
	// Longer than a socket address can hold.
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(long, "control.sock")
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
	// What a daemon that was killed left behind is no obstacle.
	stale, err := net.Listen("unix", filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	stale.Close()
	os.WriteFile(path, nil, 0o600)
	c := served(t, newFake(), path)
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if _, err := Listen(t.Context(), path); !errors.Is(err, ErrRunning) {
		t.Errorf("a second daemon: %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the first one was disturbed: %v", err)
	}
}

// Every transition is told, also those that follow one another at once.
func TestEventsTellEachTransition(t *testing.T) {
	f := newFake()
	c := served(t, f, filepath.Join(t.TempDir(), "control.sock"))
	var told []string
	err := c.stream(t.Context(), "/v1/events", func(dec *json.Decoder) (bool, error) {
		var u Update
		if err := dec.Decode(&u); err != nil {
			return false, err
		}
		if u.Snapshot != nil {
			f.set(runtime.Healthy)
			f.set(runtime.Stopping)
		}
		for _, e := range u.Events {
			told = append(told, string(e.Instance.State))
		}
		return len(told) == 2, nil
	})
	if got := strings.Join(told, " "); err != nil || got != "healthy stopping" {
		t.Errorf("%s %v", got, err)
	}
}

func TestNewest(t *testing.T) {
	instance := func(name string, state runtime.State) runtime.Event {
		return runtime.Event{Instance: &runtime.Instance{Service: "cart", Instance: name, State: state}}
	}
	batch := []runtime.Event{instance("cart-1", runtime.Starting), instance("cart-2", runtime.Starting), instance("cart-1", runtime.Healthy), {Service: &runtime.Service{Name: "cart"}}}
	if got := newest(batch); len(got) != 3 || got[0].Instance.Instance != "cart-2" || got[1].Instance.State != runtime.Healthy || got[2].Service == nil {
		t.Errorf("%+v", got)
	}
}

// A daemon that takes a connection and does not answer, as one does that was stopped,
// is told from one that is not there.
func TestADaemonThatDoesNotAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	ln, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client := newClient(path, 50*time.Millisecond)
	for name, ask := range map[string]func() error{
		"a question": func() error { _, err := client.Status(t.Context()); return err },
		"a stream":   func() error { return client.Watch(t.Context(), func(runtime.Snapshot) bool { return true }) },
		"a command":  func() error { return client.Shutdown(t.Context(), false) },
	} {
		var silent *Silent
		if err := ask(); !errors.As(err, &silent) || goruntime.GOOS == "linux" && silent.PID != os.Getpid() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheSocketHasAHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	c := served(t, newFake(), path)
	for host, want := range map[string]int{clientHost: 200, "localhost": 200, "attacker.example": 403, "127.0.0.1": 403, "0.0.0.0": 403} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, res.Status, want)
		}
	}
}

// TestGather: until the time is over, or everything has come to rest.
func TestGather(t *testing.T) {
	queue := make(chan runtime.Event, 10)
	queue <- runtime.Event{}
	queue <- runtime.Event{Rest: true}
	queue <- runtime.Event{}
	if got := gather(runtime.Event{}, queue, nil); len(got) != 3 {
		t.Errorf("to rest: %d", len(got))
	}
	over := make(chan time.Time)
	close(over)
	if got := gather(runtime.Event{Rest: true}, queue, nil); len(got) != 1 {
		t.Errorf("at rest: %d", len(got))
	}
	<-queue
	if got := gather(runtime.Event{}, queue, over); len(got) != 1 {
		t.Errorf("over: %d", len(got))
	}
}
