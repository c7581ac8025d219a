package devgateway

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// Instance is one place that a service can be reached at.
type Instance struct {
	ID    string
	Addr  string // host:port
	HTTP2 bool   // it speaks HTTP/2 without TLS and without an upgrade
	TLS   bool   // it is reached by HTTPS
}

// endpoint is an instance with what is going on there.
type endpoint struct {
	Instance
	inflight  atomic.Int64
	gone      atomic.Bool // out of the set: nothing new comes here
	conduct   conduct
	bilingual atomic.Bool // it has answered over the version of HTTP that HTTP2 does not say
	direct    direct
	empty     chan struct{} // signals Drain that inflight fell to zero. Bound 1: one signal makes it look
}

func (e *endpoint) scheme() string {
	if e.TLS {
		return "https"
	}
	return "http"
}

// pool is the healthy instances of one service.
type pool struct {
	set    atomic.Pointer[set]
	budget *budget // of retries
}

// set is immutable.
type set struct {
	list    []*endpoint
	changed chan struct{} // closed when this set is replaced
}

func newPool() *pool {
	p := &pool{budget: newBudget()}
	p.set.Store(&set{changed: make(chan struct{})})
	return p
}

// pools finds a pool by its service.
type pools map[string]*pool

// poolOf returns the pool of a service, or nil.
func (g *Gateway) poolOf(service string) *pool { return (*g.pools.Load())[service] }

// endpoints are the healthy instances of a service.
func (g *Gateway) endpoints(service string) []*endpoint {
	if p := g.poolOf(service); p != nil {
		return p.set.Load().list
	}
	return nil
}

// pool returns the pool of a service and makes it where there is none.
func (g *Gateway) pool(service string) *pool {
	if p := g.poolOf(service); p != nil {
		return p
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.poolLocked(service)
}

func (g *Gateway) poolLocked(service string) *pool {
	old := *g.pools.Load()
	if p := old[service]; p != nil {
		return p
	}
	next := maps.Clone(old)
	next[service] = newPool()
	g.pools.Store(&next)
	return next[service]
}

// SetInstances replaces the healthy instances of a service.
//
// An instance is known again by its ID and address, so that its count of
// requests goes on.
func (g *Gateway) SetInstances(service string, instances []Instance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.poolLocked(service)
	old := p.set.Load()
	next := &set{list: make([]*endpoint, 0, len(instances)), changed: make(chan struct{})}
	for _, in := range instances {
		e := find(old.list, in)
		if e == nil {
			e = &endpoint{Instance: in, direct: direct{addr: in.Addr}, empty: make(chan struct{}, 1)}
		}
		next.list = append(next.list, e)
	}
	p.set.Store(next)
	g.retire(old.list, next.list)
	if len(next.list) == 0 {
		g.forget(service)
		close(next.changed) // whoever has found this pool looks for the one that takes its place
	}
	close(old.changed)
}

// forget drops a service without instances: anybody may register any name.
func (g *Gateway) forget(service string) {
	next := maps.Clone(*g.pools.Load())
	delete(next, service)
	g.pools.Store(&next)
}

func find(list []*endpoint, in Instance) *endpoint {
	for _, e := range list {
		if e.Instance == in {
			return e
		}
	}
	return nil
}

// retire marks what left the set, and forgets what is idle since.
func (g *Gateway) retire(old, kept []*endpoint) {
	for _, e := range old {
		if !slices.Contains(kept, e) {
			e.gone.Store(true)
			e.direct.close()
			g.retired = append(g.retired, e)
		}
	}
	g.retired = slices.DeleteFunc(g.retired, func(e *endpoint) bool {
		idle := e.inflight.Load() == 0
		if idle {
			g.streams.forget(e)
		}
		return idle
	})
}

// acquire counts a request in, unless the endpoint has left the set. The
// order matters: whoever retires an endpoint sets gone and then reads
// inflight, so that one of the two sees the other.
func (e *endpoint) acquire() bool {
	e.inflight.Add(1)
	if e.gone.Load() {
		e.release()
		return false
	}
	return true
}

func (e *endpoint) release() {
	if e.inflight.Add(-1) == 0 && e.gone.Load() {
		select {
		case e.empty <- struct{}{}:
		default:
		}
	}
}

// pick chooses the instance with the fewest requests among those that were
// not tried yet; of equals, any. One that is left out as an outlier is better than
// none. It returns nil when there is none at all.
func pick(list []*endpoint, tried []*endpoint) *endpoint {
	for {
		e := least(list, tried, false)
		if e == nil {
			e = least(list, tried, true)
		}
		if e == nil || e.acquire() {
			return e
		}
		// It left the set since the list was read. The list does not change,
		// but gone does not either: it will not be chosen again.
	}
}

func least(list []*endpoint, tried []*endpoint, outliers bool) (best *endpoint) {
	if len(list) == 0 {
		return nil
	}
	fewest, start := int64(0), 0
	if len(list) > 1 {
		start = rand.IntN(len(list))
	}
	for i := range list {
		e := list[(start+i)%len(list)]
		if e.gone.Load() || slices.Contains(tried, e) || !outliers && e.conduct.left() {
			continue
		}
		if n := e.inflight.Load(); best == nil || n < fewest {
			best, fewest = e, n
		}
	}
	return best
}

// await picks an instance of a service, and waits for one as long as Hold
// says. Those tried already do not count: an instance that comes anew does.
func (g *Gateway) await(ctx context.Context, service string, tried []*endpoint) *endpoint {
	if e := pick(g.endpoints(service), tried); e != nil {
		return e
	}
	if g.config.Hold == nil {
		return nil
	}
	if limit := g.config.Hold(service); limit > 0 {
		return g.hold(ctx, service, tried, limit)
	}
	return nil
}

func (g *Gateway) hold(ctx context.Context, service string, tried []*endpoint, limit time.Duration) *endpoint {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s := g.pool(service).set.Load()
		if e := pick(s.list, tried); e != nil {
			return e
		}
		select {
		case <-s.changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// Drain waits until no request is left on the instances at addr that have
// left the set, or ctx ends. Requests run to their end; streams (server-sent
// events, WebSocket, streaming RPCs) have none, and are ended after grace, so
// that their clients connect again, to another instance.
func (g *Gateway) Drain(ctx context.Context, addr string, grace time.Duration) {
	timer := time.AfterFunc(grace, func() {
		for _, e := range g.leaving(addr) {
			g.streams.endAll(e)
		}
	})
	defer timer.Stop()
	for _, e := range g.leaving(addr) {
		for e.inflight.Load() > 0 {
			select {
			case <-e.empty:
			case <-ctx.Done():
				return
			}
		}
	}
}

// closeIdle closes the connections to instances that nobody uses.
func (g *Gateway) closeIdle() {
	for _, p := range *g.pools.Load() {
		for _, e := range p.set.Load().list {
			e.direct.closeIdle()
		}
	}
}

func (g *Gateway) leaving(addr string) []*endpoint {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []*endpoint
	for _, e := range g.retired {
		if e.Addr == addr {
			found = append(found, e)
		}
	}
	return found
}
