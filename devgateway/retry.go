package devgateway

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Retries says how often a request that is safe to send again is sent again: one
// of an idempotent method (RFC 9110, 9.2.2), or with an Idempotency-Key, whose body
// is no longer than 64 KiB and which no service has answered but with one of Codes.
// The zero Retries sends nothing again; a connection that is refused is tried
// elsewhere all the same, since nobody saw the request.
type Retries struct {
	Attempts int           // beside the first
	Codes    []int         // of answers that mean "not this instance, not now"
	Backoff  time.Duration // before the first; it doubles each time, up to a second, with jitter
}

// mostKept bounds the body that is kept to be sent again, in bytes. A longer one is
// sent once.
const mostKept = 64 << 10

// SetLinkRetries says how often requests on links are sent again; those of routes
// have their route's.
func (g *Gateway) SetLinkRetries(r Retries) { g.linkRetries.Store(&r) }

// retries are those that a request may have; zero where it is not safe to send it
// twice.
func (x *exchange) retries(req *http.Request) Retries {
	if !idempotent(req) {
		return Retries{}
	}
	if x.route != nil {
		return x.route.Retries
	}
	if r := x.g.linkRetries.Load(); r != nil {
		return *r
	}
	return Retries{}
}

func idempotent(req *http.Request) bool {
	if req.Header.Get("Upgrade") != "" || isGRPC(req.Header) {
		return false
	}
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header.Get("Idempotency-Key") != ""
}

// pause is the back-off before the nth retry, from 0; half of it is chance, so that
// those who failed together do not come back together.
func (r Retries) pause(n int) time.Duration {
	full := min(r.Backoff<<min(n, 10), time.Second)
	if full <= 0 {
		return 0
	}
	return full/2 + rand.N(full/2+1)
}

// wants says whether an answer or its absence is a reason to send a request again.
// A service that says when it can be asked again has answered.
func (r Retries) wants(res *http.Response, err error) bool {
	if err != nil {
		return true
	}
	return slices.Contains(r.Codes, res.StatusCode) && res.Header.Get("Retry-After") == ""
}

// Budget of retries: a fifth of a service's requests, counted over the last
// budgetRequests of them, and beside that budgetBurst at once and one a second, for
// services that get few. Without it, an overload would be answered with three times
// the load.
const (
	budgetPart     = 5
	budgetRequests = 500
	budgetBurst    = 10
)

type budget struct {
	requests atomic.Int64 // that were not spent on a retry yet, at most budgetRequests
	reserve  *rate.Limiter
}

func newBudget() *budget { return &budget{reserve: rate.NewLimiter(1, budgetBurst)} }

func (g *Gateway) deposit(service string) {
	if p := g.poolOf(service); p != nil {
		p.budget.deposit()
	}
}

func (g *Gateway) withdraw(service string) bool {
	p := g.poolOf(service)
	return p != nil && p.budget.withdraw()
}

// deposit counts a request that may be sent again.
func (b *budget) deposit() {
	if b.requests.Load() < budgetRequests {
		b.requests.Add(1)
	}
}

// withdraw takes a retry out of the budget, if there is one in it.
func (b *budget) withdraw() bool {
	for {
		n := b.requests.Load()
		if n < budgetPart {
			return b.reserve.Allow()
		}
		if b.requests.CompareAndSwap(n, n-budgetPart) {
			return true
		}
	}
}

// repeatable is the body of a request on its way to an instance. It stays open when
// a transport closes it, as one does that cannot connect, and it keeps what was
// read, so that it may be sent again.
type repeatable struct {
	io.ReadCloser
	trailer http.Header

	mu      sync.Mutex
	kept    []byte
	keep    bool // kept is all that was read so far
	touched bool
	whole   bool  // all was read
	broken  error // why its sender did not send all of it
}

func keepOpen(req *http.Request, keep bool) *repeatable {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b := &repeatable{ReadCloser: req.Body, trailer: req.Trailer, keep: keep && req.ContentLength <= mostKept}
	req.Body = b
	return b
}

// fetch reads all of it, and makes what was read the body of req.
func (b *repeatable) fetch(req *http.Request) error {
	b.mu.Lock()
	b.keep, b.kept = true, make([]byte, 0, req.ContentLength)
	b.mu.Unlock()
	if _, err := io.Copy(io.Discard, b); err != nil {
		return err
	}
	req.Body = io.NopCloser(bytes.NewReader(b.kept))
	return nil
}

// Read also removes identity from the trailers: they are there when the body is
// over, announced or not.
func (b *repeatable) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.touched = true
	b.mu.Unlock()
	n, err := b.ReadCloser.Read(p) // may wait for the client
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keep = b.keep && len(b.kept)+n <= mostKept; b.keep {
		b.kept = append(b.kept, p[:n]...)
	}
	switch err {
	case nil:
	case io.EOF:
		b.whole = true
		cleanTrailer(b.trailer)
	default:
		b.broken = err
	}
	return n, err
}

func (b *repeatable) Close() error { return nil } // the proxy closes the body that it got

// unread reports that nobody has read any of it; so does a request without a body.
func (b *repeatable) unread() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.touched
}

// all reports that it was read to its end; so does a request without a body.
func (b *repeatable) all() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole
}

// atFault reports that it was the body that could not be sent on.
func (b *repeatable) atFault() bool { return b.fault() != nil }

// fault is why it could not be sent on, or nil.
func (b *repeatable) fault() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

// again is a request to be sent once more, or nil where its body is gone. It is
// another one than req, which a transport may still be busy with.
func (b *repeatable) again(req *http.Request) *http.Request {
	next := req.WithContext(req.Context())
	target := *req.URL
	next.URL = &target
	if b == nil {
		return next
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.whole || !b.keep {
		return nil
	}
	next.Body = io.NopCloser(bytes.NewReader(b.kept))
	return next
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
