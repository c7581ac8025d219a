package container

import (
	"context"
	"sync"
	"time"
)

// leftovers are containers that were to be removed while the engine did not answer.
// They may run on, and are removed when it does again: before another container of
// their service is started, which may want what they hold, and by [Engine.clear].
type leftovers struct {
	mu   sync.Mutex
	of   map[string]string // the service, by container
	more chan struct{}     // of one element: there may be new ones
}

func newLeftovers() *leftovers {
	return &leftovers{of: map[string]string{}, more: make(chan struct{}, 1)}
}

func (l *leftovers) add(id, service string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[id] = service
	select {
	case l.more <- struct{}{}:
	default: // told already
	}
}

// all returns those of a service; "" is of any.
func (l *leftovers) all(service string) (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, of := range l.of {
		if service == "" || service == of {
			ids = append(ids, id)
		}
	}
	return ids
}

func (l *leftovers) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, id)
}

// removeLeft removes what is left of a service, "" of all. What the engine will not
// remove is given up; the error is of one that does not answer.
func (e *Engine) removeLeft(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	for _, id := range e.left.all(service) {
		if err := e.remove(ctx, id); gone(err) {
			return err
		}
		e.left.drop(id)
	}
	return nil
}

// clear removes what is left until ctx ends; then [Engine.Remove] takes it with all else.
func (e *Engine) clear(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.left.more:
		}
		for e.removeLeft(ctx, "") != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(engineRetry):
			}
		}
	}
}
