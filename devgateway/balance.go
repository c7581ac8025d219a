package devgateway

import (
	"context"
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
	TCP   bool   // it speaks something else: only for TCP links
}

// endpoint is an instance with what is going on there.
type endpoint struct {
	Instance
	inflight atomic.Int64
	gone     atomic.Bool   // out of the set: nothing new comes here
	empty    chan struct{} // signals Drain that inflight fell to zero. Bound 1: one signal makes it look
}

// pools is an immutable set of instances.
type pools struct {
	services map[string][]*endpoint
	changed  chan struct{} // closed when this set is replaced
}

// SetInstances replaces the set of healthy instances, by service. A service
// that is a key without instances is expected to have one soon: requests for
// it wait a little. One that is no key is answered at once.
//
// An instance is known again by service, ID and address, so that its count
// of requests goes on.
func (g *Gateway) SetInstances(services map[string][]Instance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.pools.Load()
	next := &pools{services: make(map[string][]*endpoint, len(services)), changed: make(chan struct{})}
	kept := make(map[*endpoint]bool)
	for name, instances := range services {
		list := make([]*endpoint, 0, len(instances))
		for _, in := range instances {
			e := find(old.services[name], in)
			if e == nil {
				e = &endpoint{Instance: in, empty: make(chan struct{}, 1)}
			}
			kept[e] = true
			list = append(list, e)
		}
		next.services[name] = list
	}
	g.pools.Store(next)
	g.retire(old, kept)
	close(old.changed)
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
func (g *Gateway) retire(old *pools, kept map[*endpoint]bool) {
	for _, list := range old.services {
		for _, e := range list {
			if !kept[e] {
				e.gone.Store(true)
				g.retired = append(g.retired, e)
			}
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
// not tried yet; of equals, any. It returns nil when there is none.
func pick(list []*endpoint, tried []*endpoint) *endpoint {
	for {
		e := least(list, tried)
		if e == nil || e.acquire() {
			return e
		}
		// It left the set since the list was read. The list does not change,
		// but gone does not either: it will not be chosen again.
	}
}

func least(list []*endpoint, tried []*endpoint) (best *endpoint) {
	if len(list) == 0 {
		return nil
	}
	fewest, start := int64(0), 0
	if len(list) > 1 {
		start = rand.IntN(len(list))
	}
	for i := range list {
		e := list[(start+i)%len(list)]
		if e.gone.Load() || slices.Contains(tried, e) {
			continue
		}
		if n := e.inflight.Load(); best == nil || n < fewest {
			best, fewest = e, n
		}
	}
	return best
}

// await picks an instance of a service, and waits for one up to the hold
// time when the service is expected to have one. Those tried already do not
// count: an instance that comes anew does.
func (g *Gateway) await(ctx context.Context, service string, tried []*endpoint) *endpoint {
	var timeout <-chan time.Time
	for {
		p := g.pools.Load()
		list, expected := p.services[service]
		if e := pick(list, tried); e != nil || !expected {
			return e
		}
		if timeout == nil {
			timer := time.NewTimer(g.config.Hold)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-p.changed:
		case <-timeout:
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
