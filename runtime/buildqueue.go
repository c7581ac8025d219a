package runtime

import (
	"context"
	"sync"

	"github.com/ebef7166/mesh/manifest"
)

// buildQueue runs one build at a time. A newer request ends the build under way;
// what that had not reported yet is built together with the newer.
type buildQueue struct {
	builder Builder
	report  func(service string, a Artifact, err error)
	wake    chan struct{} // has room for one: a request is waiting

	mu      sync.Mutex
	pending map[string]*manifest.Service
	cancel  context.CancelFunc // of the build under way; nil: none
}

func newBuildQueue(b Builder, report func(string, Artifact, error)) *buildQueue {
	return &buildQueue{builder: b, report: report, wake: make(chan struct{}, 1), pending: map[string]*manifest.Service{}}
}

// request asks for builds and returns at once.
func (q *buildQueue) request(services []*manifest.Service) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range services {
		if !s.External() {
			q.pending[s.Name] = s
		}
	}
	if len(q.pending) == 0 {
		return
	}
	if q.cancel != nil {
		q.cancel()
	}
	select {
	case q.wake <- struct{}{}:
	default: // it is awake already
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
		q.mu.Lock()
		_, open := batch[name]
		delete(batch, name)
		q.mu.Unlock()
		if open {
			q.report(name, a, err)
		}
	})
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cancel = nil
	for name, s := range batch { // unreported: the build was ended
		if q.pending[name] == nil {
			q.pending[name] = s
		}
	}
}
