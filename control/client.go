package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

// ErrNotRunning says that no daemon answers at the socket.
var ErrNotRunning = errors.New("mesh does not run in this workspace")

// ErrOtherUser says that the socket, or the folder it is in, belongs to another
// user: whether a daemon runs there cannot be known.
var ErrOtherUser = errors.New("the mesh of this workspace belongs to another user")

// Silent says that a daemon runs and does not answer: somebody stopped it, or the
// machine has no time for it.
type Silent struct {
	PID   int // of the daemon; 0 where the system does not tell
	After time.Duration
}

func (s *Silent) Error() string {
	who := "mesh runs in this workspace"
	if s.PID > 0 {
		who += fmt.Sprintf(" (process %d)", s.PID)
	}
	return who + " and does not answer: nothing for " + s.After.String()
}

// clientHost is the host that clients name; people with curl say localhost.
const clientHost = "mesh"

// patience is how long the daemon may take to begin an answer.
const patience = 20 * time.Second

// Client speaks to the daemon of one workspace.
type Client struct {
	path     string
	patience time.Duration
	http     *http.Client
	slow     *http.Client // without patience, for what waits for an engine or a database
	peer     atomic.Int64 // the process that listens, once it is known
}

// NewClient returns a client for the socket at path; it connects when it is
// used.
func NewClient(path string) *Client {
	return newClient(path, patience)
}

func newClient(path string, patience time.Duration) *Client {
	c := &Client{path: path, patience: patience}
	c.http = &http.Client{Transport: &http.Transport{DialContext: c.dial, ResponseHeaderTimeout: patience}}
	c.slow = &http.Client{Transport: &http.Transport{DialContext: c.dial}}
	return c
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := dial(ctx, c.path)
	if err == nil {
		c.peer.Store(int64(peerPID(conn)))
	}
	return conn, err
}

// clientFor chooses by what a request may have to wait for.
func (c *Client) clientFor(path string) *http.Client {
	if path == "/v1/apply" || strings.HasPrefix(path, "/v1/tasks/") {
		return c.slow
	}
	return c.http
}

// Status of the workspace.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Snapshot is the state of everything now, with what it uses.
func (c *Client) Snapshot(ctx context.Context) (s runtime.Snapshot, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/snapshot", nil, &s)
}

// Routes of the gateway.
func (c *Client) Routes(ctx context.Context) (r []devgateway.Route, err error) {
	return r, c.call(ctx, http.MethodGet, "/v1/routes", nil, &r)
}

// DeadEvents are the newest n events that a service could not process.
func (c *Client) DeadEvents(ctx context.Context, n int) (l []devbroker.DeadLetter, err error) {
	return l, c.call(ctx, http.MethodGet, "/v1/events/dead?n="+strconv.Itoa(n), nil, &l)
}

// Environment of a service; reveal shows secrets.
func (c *Client) Environment(ctx context.Context, service string, reveal bool) (e Environment, err error) {
	return e, c.call(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(service)+"/env?reveal="+strconv.FormatBool(reveal), nil, &e)
}

// OutsideEnv is what a command is told that tests the workspace from outside.
func (c *Client) OutsideEnv(ctx context.Context) (env map[string]string, err error) {
	return env, c.call(ctx, http.MethodGet, "/v1/outside", nil, &env)
}

// Explain says why a service is in the state it is in.
func (c *Client) Explain(ctx context.Context, service string) (e Explanation, err error) {
	return e, c.call(ctx, http.MethodGet, "/v1/services/"+url.PathEscape(service)+"/why", nil, &e)
}

// Steer starts, stops, restarts or rebuilds services; verb is one of those
// words. It returns once the daemon has taken the order.
func (c *Client) Steer(ctx context.Context, verb string, services ...string) error {
	return c.call(ctx, http.MethodPost, "/v1/services/"+verb, map[string]any{"services": services}, nil)
}

// RunTask runs a task once; it returns once the task has been told.
func (c *Client) RunTask(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "/v1/tasks/"+url.PathEscape(name), nil, nil)
}

// Scale sets the number of instances of a service.
func (c *Client) Scale(ctx context.Context, service string, replicas int) error {
	return c.call(ctx, http.MethodPost, "/v1/scale", map[string]any{"service": service, "replicas": replicas}, nil)
}

// Apply brings the workspace to its manifest on disk.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (plan runtime.Plan, err error) {
	return plan, c.call(ctx, http.MethodPost, "/v1/apply", r, &plan)
}

// Token makes an access token.
func (c *Client) Token(ctx context.Context, r TokenRequest) (string, error) {
	var out struct{ Token string }
	err := c.call(ctx, http.MethodPost, "/v1/token", r, &out)
	return out.Token, err
}

// RotateKeys makes a new key that signs tokens.
func (c *Client) RotateKeys(ctx context.Context) (r devidentity.Rotation, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/identity/rotate", nil, &r)
}

// Shutdown tells the daemon to stop everything and end; now kills what has not
// stopped yet. Gone waits for that.
func (c *Client) Shutdown(ctx context.Context, now bool) error {
	return c.call(ctx, http.MethodPost, "/v1/shutdown", map[string]bool{"now": now}, nil)
}

// Gone waits until the daemon does not answer any more.
func (c *Client) Gone(ctx context.Context) error {
	for {
		if _, err := c.Status(ctx); errors.Is(err, ErrNotRunning) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Watch calls see with a snapshot now and again after changes, in order, until
// see reports that it is done (nil), ctx ends, or the daemon does. The snapshot
// is good until see returns.
func (c *Client) Watch(ctx context.Context, see func(runtime.Snapshot) (done bool)) error {
	var now runtime.Snapshot
	return c.stream(ctx, "/v1/events?newest=true", func(dec *json.Decoder) (bool, error) {
		var u Update
		if err := dec.Decode(&u); err != nil {
			return false, err
		}
		if u.Snapshot != nil {
			now = *u.Snapshot
		}
		for _, e := range u.Events {
			now.Apply(e)
		}
		return see(now), nil
	})
}

// Logs calls emit for each line that q wants, and with follow for those that
// come, until ctx or the daemon ends.
func (c *Client) Logs(ctx context.Context, q logs.Query, follow bool, emit func(logs.Line) error) error {
	return found(ctx, c, "/v1/logs", q, follow, emit)
}

// Access is Logs for the records of the gateway and the links.
func (c *Client) Access(ctx context.Context, q logs.Query, follow bool, emit func(devgateway.AccessLine) error) error {
	return found(ctx, c, "/v1/access", q, follow, emit)
}

func found[T any](ctx context.Context, c *Client, path string, q logs.Query, follow bool, emit func(T) error) error {
	values := url.Values{"service": q.Services, "follow": {strconv.FormatBool(follow)}}
	if q.Last > 0 {
		values.Set("n", strconv.Itoa(q.Last))
	}
	if !q.Since.IsZero() {
		values.Set("since", since(q.Since))
	}
	if q.Grep != nil {
		values.Set("grep", q.Grep.String())
	}
	return c.stream(ctx, path+"?"+values.Encode(), func(dec *json.Decoder) (bool, error) {
		var line T
		if err := dec.Decode(&line); err != nil {
			return false, err
		}
		return false, emit(line)
	})
}

// since is a time as it was given, and a moment of this process (time: Monotonic
// Clocks) as an age: the wall clock may have been set since then.
func since(at time.Time) string {
	if at == at.Round(0) { //nolint:staticcheck // Equal does not see the monotonic reading
		return at.Format(time.RFC3339Nano)
	}
	return time.Since(at).String()
}

// ErrEnded says that the daemon ended while it was listened to.
var ErrEnded = errors.New("mesh has stopped")

func (c *Client) stream(ctx context.Context, path string, next func(*json.Decoder) (done bool, err error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		done, err := next(dec)
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
			return ErrEnded
		case err != nil:
			return err
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// endedJustNow reports that the daemon took the connection and did not answer.
func endedJustNow(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	var failed *url.Error // net/http's own error for it has no name
	return errors.As(err, &failed) && strings.Contains(failed.Err.Error(), "server closed idle connection")
}

// do sends a request and turns an answer that is no success into an error.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+clientHost+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.clientFor(path).Do(req)
	var timeout net.Error
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, ErrNotRunning
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: no permission for %s", ErrOtherUser, c.path)
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case endedJustNow(err):
		return nil, ErrNotRunning
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, &Silent{PID: int(c.peer.Load()), After: c.patience}
	case err != nil:
		return nil, err
	case resp.StatusCode < 300:
		return resp, nil
	}
	defer resp.Body.Close()
	failed := &Error{}
	if err := json.NewDecoder(resp.Body).Decode(failed); err != nil {
		return nil, fmt.Errorf("%s %s answered %s", method, path, resp.Status)
	}
	return nil, failed
}
