package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/internal/broadcast"
	"github.com/ebef7166/mesh/internal/serve"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

// Workspace is what the server serves.
type Workspace interface {
	Status(ctx context.Context) Status
	Snapshot(ctx context.Context) runtime.Snapshot
	Subscribe() (runtime.Snapshot, *broadcast.Subscription[runtime.Event])
	FollowLogs(ctx context.Context, q logs.Query, follow bool, emit func([]logs.Line) error) error
	FollowAccess(ctx context.Context, q devgateway.AccessQuery, follow bool, emit func([]devgateway.AccessLine) error) error
	Routes() []devgateway.Route
	DeadEvents(ctx context.Context, n int) ([]devbroker.DeadLetter, error)
	Environment(service string, reveal bool) (Environment, error)
	OutsideEnv() map[string]string
	Explain(ctx context.Context, service string) (Explanation, error)
	Steer(verb string, services []string) error
	RunTask(ctx context.Context, name string) error
	Scale(service string, replicas int) error
	Apply(ctx context.Context, r ApplyRequest) (runtime.Plan, error)
	Token(ctx context.Context, r TokenRequest) (string, error)
	RotateKeys() (devidentity.Rotation, error)
	// Shutdown stops everything and ends the daemon; now kills what has not
	// stopped yet.
	Shutdown(now bool)
}

// Listen makes the socket at path, for this user alone. Another daemon that
// answers there is left alone: the error is ErrRunning.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	switch conn, err := dial(ctx, path); {
	case err == nil:
		conn.Close()
		return nil, ErrRunning
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: no permission for %s", ErrOtherUser, path)
	}
	// Nobody answers: what lies there is of a daemon that died.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return listenSocket(ctx, path)
}

// ErrRunning says that a daemon of this workspace runs already.
var ErrRunning = errors.New("mesh runs in this workspace already")

// Serve answers on ln until ctx ends.
func Serve(ctx context.Context, ln net.Listener, w Workspace) error {
	s := &server{w: w}
	return serve.HTTP(ctx, &http.Server{Handler: ownHost(s.routes()), ReadHeaderTimeout: 10 * time.Second}, ln)
}

// ownHost refuses requests that were meant for somebody else: a relay that leads to the
// socket is none of ours.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != clientHost && r.Host != "localhost" {
			http.Error(w, "this is the control socket of mesh, not "+strconv.Quote(r.Host)+": ask for http://localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type server struct{ w Workspace }

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", answer(func(r *http.Request) (any, error) { return s.w.Status(r.Context()), nil }))
	mux.Handle("GET /v1/snapshot", answer(func(r *http.Request) (any, error) { return s.w.Snapshot(r.Context()), nil }))
	mux.Handle("GET /v1/routes", answer(func(*http.Request) (any, error) { return s.w.Routes(), nil }))
	mux.Handle("GET /v1/outside", answer(func(*http.Request) (any, error) { return s.w.OutsideEnv(), nil }))
	mux.Handle("GET /v1/services/{name}/env", answer(s.env))
	mux.Handle("GET /v1/services/{name}/why", answer(s.why))
	mux.Handle("POST /v1/services/{verb}", answer(s.steer))
	mux.Handle("POST /v1/tasks/{name}", answer(func(r *http.Request) (any, error) {
		return nil, s.w.RunTask(r.Context(), r.PathValue("name"))
	}))
	mux.Handle("POST /v1/scale", answer(s.scale))
	mux.Handle("POST /v1/apply", answer(s.apply))
	mux.Handle("POST /v1/token", answer(s.token))
	mux.Handle("POST /v1/identity/rotate", answer(func(*http.Request) (any, error) { return s.w.RotateKeys() }))
	mux.Handle("POST /v1/shutdown", answer(s.shutdown))
	mux.Handle("GET /v1/events/dead", answer(s.dead))
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("GET /v1/logs", s.logs)
	mux.HandleFunc("GET /v1/access", s.access)
	return mux
}

// answer encodes what a handler returns.
func answer(h func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		result, err := h(r)
		status := http.StatusOK
		if err != nil {
			result, status = failure(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(result) // a client that left
	})
}

func failure(err error) (*Error, int) {
	var unknown *manifest.UnknownService
	var problems manifest.Problems
	var ours *Error
	switch {
	case errors.As(err, &ours):
		return ours, http.StatusBadRequest
	case errors.As(err, &unknown):
		return &Error{err.Error(), CodeUnknown}, http.StatusNotFound
	case errors.As(err, &problems):
		return &Error{err.Error(), CodeInvalid}, http.StatusBadRequest
	}
	return &Error{err.Error(), CodeFailed}, http.StatusInternalServerError
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(into); err != nil {
		return &Error{"the request is no JSON: " + err.Error(), CodeInvalid}
	}
	return nil
}

func (s *server) env(r *http.Request) (any, error) {
	return s.w.Environment(r.PathValue("name"), r.FormValue("reveal") == "true")
}

func (s *server) why(r *http.Request) (any, error) {
	return s.w.Explain(r.Context(), r.PathValue("name"))
}

func (s *server) dead(r *http.Request) (any, error) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil || n < 1 {
		return nil, &Error{fmt.Sprintf("n: %q is no number of events", r.FormValue("n")), CodeInvalid}
	}
	return s.w.DeadEvents(r.Context(), n)
}

func (s *server) steer(r *http.Request) (any, error) {
	var in struct{ Services []string }
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return nil, s.w.Steer(r.PathValue("verb"), in.Services)
}

func (s *server) scale(r *http.Request) (any, error) {
	var in struct {
		Service  string
		Replicas int
	}
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return nil, s.w.Scale(in.Service, in.Replicas)
}

func (s *server) apply(r *http.Request) (any, error) {
	var in ApplyRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return s.w.Apply(r.Context(), in)
}

func (s *server) token(r *http.Request) (any, error) {
	var in TokenRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	token, err := s.w.Token(r.Context(), in)
	return map[string]string{"token": token}, err
}

func (s *server) shutdown(r *http.Request) (any, error) {
	var in struct{ Now bool }
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	s.w.Shutdown(in.Now)
	return nil, nil
}

// events streams a snapshot and then every event, or with newest=true those that
// nothing newer has made old. A client that is too slow gets a new snapshot in place
// of what it missed.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	now, events := s.w.Subscribe()
	defer func() { events.Close() }()
	out.send(Update{Snapshot: &now})
	sent := time.Now()
	for out.err == nil {
		select {
		case <-r.Context().Done():
			return
		case e := <-events.C():
			// What is sent is looked at as a whole: of many services, less often.
			pause := gatherTime + gatherEach*time.Duration(len(now.Services))
			batch := gather(e, events.C(), time.After(pause-time.Since(sent)))
			if r.FormValue("newest") == "true" {
				batch = newest(batch)
			}
			sent = time.Now()
			if events.Missed() == 0 {
				out.send(Update{Events: batch})
				continue
			}
			events.Close()
			now, events = s.w.Subscribe()
			out.send(Update{Snapshot: &now})
		}
	}
}

// How long events are gathered: one message for what happens at one moment, soon
// enough for the eye.
const (
	gatherTime = 15 * time.Millisecond
	gatherEach = 20 * time.Microsecond // more, for each service
	gatherMost = 1000                  // events
)

// gather is an event with those that follow it until the time is over, or everything
// has come to rest: somebody may be waiting for that.
func gather(first runtime.Event, queue <-chan runtime.Event, over <-chan time.Time) []runtime.Event {
	batch := []runtime.Event{first}
	for last := first; !last.Rest && len(batch) < gatherMost; batch = append(batch, last) {
		select {
		case last = <-queue:
		case <-over:
			return batch
		}
	}
	return batch
}

// newest is a batch without the events that a later one of the same row makes old.
func newest(batch []runtime.Event) []runtime.Event {
	last := map[string]int{}
	for i, e := range batch {
		last[e.Row()] = i
	}
	var kept []runtime.Event
	for i, e := range batch {
		if last[e.Row()] == i {
			kept = append(kept, e)
		}
	}
	return kept
}

func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	follow(w, r, func(ctx context.Context, q logs.Query, on bool, emit func([]logs.Line) error) error {
		return s.w.FollowLogs(ctx, q, on, emit)
	})
}

func (s *server) access(w http.ResponseWriter, r *http.Request) {
	follow(w, r, func(ctx context.Context, q logs.Query, on bool, emit func([]devgateway.AccessLine) error) error {
		return s.w.FollowAccess(ctx, devgateway.AccessQuery(q), on, emit)
	})
}

// follow streams what a query of logs finds, one object a line.
func follow[T any](w http.ResponseWriter, r *http.Request, find func(context.Context, logs.Query, bool, func([]T) error) error) {
	q, err := logQuery(r)
	if err != nil {
		answer(func(*http.Request) (any, error) { return nil, err }).ServeHTTP(w, r)
		return
	}
	out := newLines(w)
	out.flush() // to look may take its time
	_ = find(r.Context(), q, r.FormValue("follow") == "true", func(lines []T) error {
		for i := range lines {
			out.encode(lines[i])
		}
		out.flush()
		return out.err
	})
}

func logQuery(r *http.Request) (logs.Query, error) {
	q := logs.Query{Services: r.URL.Query()["service"]}
	var err error
	if text := r.FormValue("n"); text != "" {
		if q.Last, err = strconv.Atoi(text); err != nil {
			return q, &Error{fmt.Sprintf("n: %q is no number", text), CodeInvalid}
		}
	}
	if text := r.FormValue("since"); text != "" {
		if q.Since, err = sinceTime(text); err != nil {
			return q, &Error{"since: " + err.Error(), CodeInvalid}
		}
	}
	if text := r.FormValue("grep"); text != "" {
		if q.Grep, err = regexp.Compile(text); err != nil {
			return q, &Error{"grep: " + err.Error(), CodeInvalid}
		}
	}
	return q, nil
}

// sinceTime takes an age or a time.
func sinceTime(text string) (time.Time, error) {
	if age, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-age), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// lines writes one JSON object a line.
type lines struct {
	w   http.ResponseWriter
	enc *json.Encoder
	err error // the first; nothing is written after it
}

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	return &lines{w: w, enc: json.NewEncoder(w)}
}

func (l *lines) encode(v any) {
	if l.err == nil {
		l.err = l.enc.Encode(v)
	}
}

func (l *lines) flush() {
	if l.err == nil {
		l.err = http.NewResponseController(l.w).Flush()
	}
}

func (l *lines) send(v any) {
	l.encode(v)
	l.flush()
}
