package devregistry

import (
	"context"
	"fmt"
	"time"
)

// Run lets TTLs run out and removes services that stayed critical for longer
// than they asked for, until ctx ends. Without it everything stays as it was
// last reported.
//
// Time is counted by the monotonic clock: a clock that is set, or a laptop
// that slept, expires nobody who kept reporting.
func (r *Registry) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.kick:
		}
		timer.Reset(r.expire())
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
func (r *Registry) expire() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, next := r.now(), r.now()+idle
	for _, c := range r.checks {
		if due := c.due(); due > now {
			next = min(next, due)
			continue
		}
		r.expireCheck(c)
		if due := c.due(); due > now {
			next = min(next, due)
		}
	}
	return next - now
}

// never is a due time that does not come.
const never = time.Duration(1<<63 - 1)

// due is when a check next changes by itself.
func (c *check) due() time.Duration {
	switch {
	case c.ttl > 0 && c.status != statusCritical:
		return c.deadline
	case c.reapAfter > 0 && c.serviceID != "" && c.status == statusCritical:
		return c.criticalSince + c.reapAfter
	}
	return never
}

func (r *Registry) expireCheck(c *check) {
	if c.status == statusCritical {
		r.removeService(c.serviceID)
		return
	}
	r.setStatus(c, statusCritical, fmt.Sprintf("TTL expired (last output before timeout follows): %s", c.output))
}
