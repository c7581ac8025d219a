package devregistry

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
)

// probes are the checks that the registry makes, at most maxProbes at once. What
// waits is bounded by the number of checks.
type probes struct {
	registry *Registry
	running  sync.WaitGroup
	slots    chan struct{}
}

func newProbes(r *Registry) *probes {
	return &probes{registry: r, slots: make(chan struct{}, maxProbes)}
}

// start makes a check once, when there is a slot. A check that is deregistered or
// registered anew meanwhile is given up.
func (p *probes) start(ctx context.Context, c *check) {
	ctx, stop := context.WithCancel(ctx)
	c.stop, c.nextProbe = stop, never
	p.running.Go(func() {
		defer stop()
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		status, output := c.target.Run(ctx)
		<-p.slots
		if ctx.Err() == nil {
			p.registry.found(c, status, output)
		}
	})
}

func (p *probes) wait() { p.running.Wait() }

// found records what a probe found and plans the next. The tenth that is added to
// the interval, at most, keeps checks that were registered together apart.
func (r *Registry) found(c *check, found probe.Status, output string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.checks[c.id] != c {
		return
	}
	c.nextProbe = r.now() + c.interval + rand.N(c.interval/10+time.Nanosecond)
	if status, enough := c.judge(found); enough {
		r.setStatus(c, status, output)
	}
	r.schedule(c)
}
