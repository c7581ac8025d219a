package workspace

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// serving owns the goroutines that serve listeners, of those that are opened later
// too. What waits to be started is bounded by the listeners there are.
type serving struct {
	wake chan struct{} // has room for one: fresh holds something

	mu    sync.Mutex
	fresh []func(context.Context) error
}

func newServing() *serving { return &serving{wake: make(chan struct{}, 1)} }

// start has run call serve in a goroutine of its own. Its error ends all.
func (s *serving) start(serve func(context.Context) error) {
	s.mu.Lock()
	s.fresh = append(s.fresh, serve)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// run serves until ctx ends, or the first fails.
func (s *serving) run(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return parts.Wait()
		case <-s.wake:
		}
		s.mu.Lock()
		fresh := s.fresh
		s.fresh = nil
		s.mu.Unlock()
		for _, serve := range fresh {
			parts.Go(func() error { return serve(ctx) })
		}
	}
}
