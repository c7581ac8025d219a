package runtime

import (
	"context"
	"slices"
	"sync"

	"github.com/ebef7166/mesh/manifest"
)

// buildQueue runs one build at a time. A newer request ends the build under way;
// what that had not reported yet is built together with the newer. But a build
// command that was ended so is not ended again by a request for its own service:
// what it writes may be the cause; and after many that were ended in a row one is let
// finish, or steady saves of one service would keep another's from ever being built. A
// request may ask to hold the results until release: what is being saved may not be
// complete.
type buildQueue struct {
	builder Builder
	report  func(built *manifest.Service, a Artifact, err error)
	wake    chan struct{} // has room for one: a request is waiting

	mu      sync.Mutex
	pending map[string]*manifest.Service
	cancel  context.CancelFunc // of the build under way; nil: none
	row     int                // builds that were ended since one was through
	ended   map[string]bool    // services whose build command was ended and has not been through since
	held    chan struct{}      // closed by release; nil: nothing is held
}

// mostEnded is how many builds in a row may be ended for a newer one.
const mostEnded = 8

func newBuildQueue(b Builder, report func(*manifest.Service, Artifact, error)) *buildQueue {
	return &buildQueue{builder: b, report: report, wake: make(chan struct{}, 1), pending: map[string]*manifest.Service{}, ended: map[string]bool{}}
}

// request asks for builds and returns at once.
func (q *buildQueue) request(services []*manifest.Service, hold bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if hold && q.held == nil {
		q.held = make(chan struct{})
	}
	for _, s := range services {
		if !s.External() {
			q.pending[s.Name] = s
		}
	}
	if len(q.pending) == 0 {
		return
	}
	if q.cancel != nil && q.row < mostEnded && slices.ContainsFunc(services, func(s *manifest.Service) bool { return !q.ended[s.Name] }) {
		q.cancel()
	}
	select {
	case q.wake <- struct{}{}:
	default: // it is awake already
	}
}

// release lets the results out that are held.
func (q *buildQueue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held != nil {
		close(q.held)
		q.held = nil
	}
}

// wait waits while results are held; false when the build was ended meanwhile.
func (q *buildQueue) wait(ctx context.Context) bool {
	q.mu.Lock()
	held := q.held
	q.mu.Unlock()
	if held == nil {
		return ctx.Err() == nil
	}
	select {
	case <-held:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// run builds until ctx ends.
func (q *buildQueue) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
			q.build(ctx)
		}
	}
}

func (q *buildQueue) build(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.mu.Lock()
	batch := q.pending
	q.pending, q.cancel = map[string]*manifest.Service{}, cancel
	q.mu.Unlock()
	services := make([]*manifest.Service, 0, len(batch))
	for _, s := range batch {
		services = append(services, s)
	}
	q.builder.Build(ctx, services, func(name string, a Artifact, err error) {
		if !q.wait(ctx) {
			return
		}
		q.mu.Lock()
		s, open := batch[name]
		delete(batch, name)
		delete(q.ended, name)
		q.mu.Unlock()
		if open {
			q.report(s, a, err)
		}
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cancel = nil
	q.row++
	if len(batch) == 0 {
		q.row = 0
	}
	for name, s := range batch { // unreported: the build was ended
		q.ended[name] = !s.Build.Empty()
		if q.pending[name] == nil {
			q.pending[name] = s
		}
	}
}
