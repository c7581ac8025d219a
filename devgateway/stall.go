package devgateway

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// limits bound what a client costs by being slow.
type limits struct {
	header time.Duration // until the head of a request is there, a handshake included
	idle   time.Duration // between two requests
	stall  time.Duration // in which nothing comes of a body that is waited for, or nothing is taken of an answer; 0: for ever
}

// Limits of the outside. Links have no stall: a service that a person has stopped
// in a debugger reads on when they are done.
const (
	headerLimit = 10 * time.Second
	idleLimit   = 60 * time.Second
	stallLimit  = 60 * time.Second
)

// watch ends a wait that takes too long.
type watch struct {
	after time.Duration
	stop  func() // what makes the wait end; called from another goroutine
	timer *time.Timer

	mu          sync.Mutex
	waiting     bool
	interrupted bool // no wait lasts any more
	late        bool // and one did not
	fired       bool
	over        bool // nothing is stopped any more: what stop uses is gone with the request
}

// wait runs f, which may wait for the client. It is not called twice at once.
func (w *watch) wait(f func()) {
	if w.timer == nil {
		w.timer = time.AfterFunc(w.after, w.fire)
	} else {
		w.timer.Reset(w.after)
	}
	w.begin()
	f()
	w.mu.Lock()
	w.waiting = false
	w.mu.Unlock()
	w.timer.Stop()
}

func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = true
	w.endWait()
}

// interrupt ends a wait before its time, and those that come.
func (w *watch) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupted = true
	w.endWait()
}

// endWait ends a wait that is interrupted; w is locked.
func (w *watch) endWait() {
	if w.interrupted && w.waiting && !w.over {
		w.late = true
		w.stop()
	}
}

func (w *watch) wasLate() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late
}

func (w *watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.fired = true
		w.stop()
	}
}

// end is called when the request is over. A transport may read its body even then.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
}

func (w *watch) hasFired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fired
}

// watchBody bounds how long the body of a request may say nothing, unless it is one
// that may: a stream of messages.
func (x *exchange) watchBody(r *http.Request) {
	if x.g.limits.stall == 0 || r.Body == http.NoBody || isMessages(r.Header) {
		return
	}
	x.body = &watch{after: x.g.limits.stall, stop: func() { _ = http.NewResponseController(x.w.ResponseWriter).SetReadDeadline(time.Now()) }}
	r.Body = &watchedBody{r.Body, x.body}
}

func isMessages(h http.Header) bool {
	return isGRPC(h) || strings.HasPrefix(h.Get("Content-Type"), "application/connect+")
}

type watchedBody struct {
	io.ReadCloser
	watch *watch
}

func (b *watchedBody) Read(p []byte) (n int, err error) {
	b.watch.wait(func() { n, err = b.ReadCloser.Read(p) })
	return n, err
}

// unreadLimit bounds how long an answer waits for the rest of a body that nobody
// reads. Over HTTP/1.1 net/http reads up to 256 KiB of it before it sends any.
const unreadLimit = 5 * time.Second

// leaveUnread is called before an answer to a request whose body was not read to its
// end. Where it was, net/http reads on to learn of the client's end, and must not be
// disturbed.
func (x *exchange) leaveUnread(r *http.Request) {
	if r.ProtoMajor != 1 || r.Body == http.NoBody || x.stalled() || x.late() { // it was broken off already
		return
	}
	limit := unreadLimit
	if stall := x.g.limits.stall; stall > 0 {
		limit = min(limit, stall)
	}
	_ = http.NewResponseController(x.w.ResponseWriter).SetReadDeadline(time.Now().Add(limit))
}

// late reports that the client's body was waited for when the time of the route was over.
func (x *exchange) late() bool { return x.body != nil && x.body.wasLate() }

// stalled reports that a request was broken off because its body did not come.
func (x *exchange) stalled() bool { return x.body != nil && x.body.hasFired() }

// watchAnswer bounds how long a client may take nothing of an answer over HTTP/2:
// its streams wait for the client one by one. Over HTTP/1.1 the connection waits,
// see [strictConn.Write].
func (w *writer) watchAnswer(r *http.Request, stall time.Duration) {
	if r.ProtoMajor == 2 && stall > 0 {
		w.watch = &watch{after: stall, stop: func() { w.deadline(time.Now()) }}
	}
}

func (w *writer) deadline(t time.Time) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

// finish bounds what is still to be sent when the handler has returned.
func (w *writer) finish() {
	if w.watch == nil {
		return
	}
	if w.watch.end(); w.bytes > 0 {
		w.deadline(time.Now().Add(w.watch.after))
	}
}

// Write waits until its client has room.
func (w *writer) Write(p []byte) (n int, err error) {
	if w.watch == nil {
		n, err = w.ResponseWriter.Write(p)
	} else {
		w.watch.wait(func() { n, err = w.ResponseWriter.Write(p) })
	}
	w.bytes += int64(n)
	return n, err
}

// FlushError implements what http.ResponseController looks for.
func (w *writer) FlushError() (err error) {
	flush := http.NewResponseController(w.ResponseWriter).Flush
	if w.watch == nil {
		return flush()
	}
	w.watch.wait(func() { err = flush() })
	return err
}
