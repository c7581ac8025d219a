package devgateway

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Outliers says when an instance that is healthy by its own account gets no
// requests for a while: after so many failures one after another. A failure is no
// answer, an answer of 502, 503 or 504, or gRPC's UNAVAILABLE. The zero Outliers
// leaves nobody out.
type Outliers struct {
	Failures int
	Base     time.Duration // for how long the first time; the second time twice as long, and so on
	Max      time.Duration // at most
}

// Outlier is an instance that gets no requests now.
type Outlier struct {
	Service  string    `json:"service"`
	Instance string    `json:"instance"`
	Until    time.Time `json:"until"`
	Cause    string    `json:"cause"` // of the last failure
}

// SetOutliers says from now on when an instance is left out.
func (g *Gateway) SetOutliers(o Outliers) { g.outliers.Store(&o) }

// conduct is what an endpoint has done lately.
type conduct struct {
	failures atomic.Int32             // one after another
	out      atomic.Pointer[ejection] // nil: it gets requests

	mu   sync.Mutex // held while it is left out, not by requests that go well
	last ejection   // the one before, or the present one
	row  int        // ejections after which it did not hold
}

type ejection struct {
	from, until time.Time // with the monotonic clock
	cause       string
}

// left reports that the endpoint gets no requests now. Whoever sees first that its
// time is over lets it back in.
func (c *conduct) left() bool {
	out := c.out.Load()
	if out == nil {
		return false
	}
	if time.Now().Before(out.until) {
		return true
	}
	c.out.CompareAndSwap(out, nil)
	return false
}

// judge counts what an instance did with a request; verdict is nil when it did well.
func (g *Gateway) judge(service string, e *endpoint, verdict error) {
	switch {
	case errors.Is(verdict, errNoVerdict):
		return
	case verdict == nil:
		if e.conduct.failures.Load() != 0 {
			e.conduct.failures.Store(0)
		}
		return
	}
	o := g.outliers.Load()
	if o == nil || o.Failures <= 0 || int(e.conduct.failures.Add(1)) < o.Failures {
		return
	}
	if out := g.eject(service, e, *o, plainCause(verdict)); out != nil {
		g.log.WarnContext(context.Background(), "an instance gets no requests for a while: it failed too often", "service", service, "instance", e.ID,
			"failures", o.Failures, "for", out.until.Sub(out.from), "cause", out.cause)
	}
}

// eject leaves an endpoint out, unless half of the service's are out already: with
// the rest alone, an overload would only be worse.
func (g *Gateway) eject(service string, e *endpoint, o Outliers, cause string) *ejection {
	g.ejecting.Lock()
	defer g.ejecting.Unlock()
	p := g.poolOf(service)
	if p == nil || e.conduct.left() {
		return nil
	}
	list := p.set.Load().list
	out := 0
	for _, other := range list {
		if other.conduct.left() {
			out++
		}
	}
	if 2*(out+1) > len(list) {
		return nil
	}
	return e.conduct.eject(o, time.Now(), cause)
}

// eject begins the next ejection. Those before are forgotten once the instance has
// held for as long as it was out.
func (c *conduct) eject(o Outliers, now time.Time, cause string) *ejection {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.last.until) > c.last.until.Sub(c.last.from) {
		c.row = 0
	}
	c.row++
	c.last = ejection{from: now, until: now.Add(min(o.Base*time.Duration(c.row), max(o.Base, o.Max))), cause: cause}
	out := c.last
	c.failures.Store(0)
	c.out.Store(&out)
	return &out
}

// Outliers are the instances that get no requests now, by service and instance.
func (g *Gateway) Outliers() []Outlier {
	all := []Outlier{}
	for service, p := range *g.pools.Load() {
		for _, e := range p.set.Load().list {
			if out := e.conduct.out.Load(); out != nil && e.conduct.left() {
				all = append(all, Outlier{service, e.ID, out.until, out.cause})
			}
		}
	}
	slices.SortFunc(all, func(a, b Outlier) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Instance, b.Instance))
	})
	return all
}
