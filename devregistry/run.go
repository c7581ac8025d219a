package devregistry

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxProbes is how many checks are under way at once. Beyond it they wait their
// turn, and are late rather than many.
const maxProbes = 16

// Run makes the registry's checks, lets TTLs and sessions run out, removes
// services that stayed critical for longer than they asked for, save mesh's own, and
// keeps the keys, until ctx ends. Without it everything stays as it was last reported.
//
// Time is counted by the monotonic clock: a clock that is set, or a laptop
// that slept, expires nobody who kept reporting.
func (r *Registry) Run(ctx context.Context) error {
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return r.keys.Run(ctx) })
	parts.Go(func() error {
		r.watchDeadlines(ctx)
		return nil
	})
	return parts.Wait()
}

func (r *Registry) watchDeadlines(ctx context.Context) {
	probes := newProbes(r)
	defer probes.wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.kick:
		}
		timer.Reset(r.expire(ctx, probes))
	}
}

// lookAgain makes Run look at the deadlines again.
func (r *Registry) lookAgain() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// idle is how long Run sleeps when nothing is due; a new deadline wakes it.
const idle = time.Hour

// expire does what is due and returns how long until the next is.
func (r *Registry) expire(ctx context.Context, p *probes) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.deadlines) > 0 {
		now, c := r.now(), r.deadlines[0]
		if c.at > now {
			return c.at - now
		}
		heap.Pop(&r.deadlines)
		if due := c.due(); due <= now {
			r.pass(ctx, p, c, now)
		}
		if r.checks[c.id] == c {
			r.schedule(c)
		}
	}
	return idle
}

// pass does what a check's deadline is for.
func (r *Registry) pass(ctx context.Context, p *probes, c *check, now time.Duration) {
	switch {
	case c.target != nil && c.nextProbe <= now:
		p.start(ctx, c)
	case c.status == statusCritical:
		r.removeService(c.serviceID)
	default:
		r.setStatus(c, statusCritical, fmt.Sprintf("TTL expired (last output before timeout follows): %s", c.output))
	}
}
