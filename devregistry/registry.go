package devregistry

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Instance is one running copy of a service.
type Instance struct {
	ID      string
	Service string
	Address string
	Port    int
	Tags    []string
	Meta    map[string]string
}

// Registry holds instances and their checks. Its methods may be called from
// many goroutines at once; none of them waits for a reader.
type Registry struct {
	node  string
	kick  chan struct{} // a TTL was set: Run looks at its deadlines again. Bound 1: one look is enough for many changes
	epoch time.Time     // deadlines are durations since epoch, by the monotonic clock

	mu       sync.RWMutex
	services map[string]*service            // by service ID
	names    map[string]map[string]*service // by service name, then service ID
	checks   map[string]*check              // by check ID
	checksOn map[string]map[string]*check   // by service ID ("" for the node's), then check ID
	index    uint64                         // of the last change
	last     map[string]uint64              // service name to the index of its last change, while it has instances
	gone     uint64                         // the last time that a service lost its last instance
	changed  chan struct{}                  // closed and replaced at every change
}

// New returns an empty registry.
//
// Its first index is the time in milliseconds, so that a client which holds
// an index of an earlier run is answered at once instead of waiting for the
// index to catch up with its own.
func New() *Registry {
	now := time.Now()
	return &Registry{
		node:     nodeName,
		kick:     make(chan struct{}, 1),
		epoch:    now,
		services: make(map[string]*service),
		names:    make(map[string]map[string]*service),
		checks:   make(map[string]*check),
		checksOn: make(map[string]map[string]*check),
		index:    uint64(now.UnixMilli()),
		last:     make(map[string]uint64),
		changed:  make(chan struct{}),
	}
}

// Register adds an instance that mesh runs itself and knows to be healthy.
// Registering the same instance again changes nothing and wakes nobody.
func (r *Registry) Register(in Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &service{Instance: clone(in), own: true, weights: defaultWeights}
	if old, ok := r.services[in.ID]; ok && old.own && old.equal(s) {
		return
	}
	r.putService(s)
	r.putCheck(&check{
		id:          "mesh:" + in.ID,
		name:        "Run by mesh",
		notes:       "registered by mesh while it is healthy",
		kind:        ownCheck,
		status:      statusPassing,
		serviceID:   in.ID,
		serviceName: in.Service,
		serviceTags: s.Tags,
	})
	r.changedLocked(in.Service)
}

// Deregister removes an instance and its checks, whoever registered it.
func (r *Registry) Deregister(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeService(id)
}

// Snapshot returns the instances whose checks all pass, sorted by service
// and ID, and the index that they were true at.
func (r *Registry) Snapshot() (index uint64, instances []Instance) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	instances = make([]Instance, 0, len(r.services))
	for _, s := range r.services {
		if r.passing(s) {
			instances = append(instances, clone(s.Instance))
		}
	}
	slices.SortFunc(instances, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
	})
	return r.index, instances
}

// Wait returns the current index as soon as it differs from after, or when
// ctx ends. Changes that come close together may be seen as one.
func (r *Registry) Wait(ctx context.Context, after uint64) uint64 {
	index, _ := r.wait(ctx, func() uint64 {
		if r.index == after {
			return 0
		}
		return r.index
	}, 1)
	return index
}

// wait returns once current() is at least atLeast, or ctx ends, with the last
// value of current. current is called with the lock held for reading.
func (r *Registry) wait(ctx context.Context, current func() uint64, atLeast uint64) (uint64, error) {
	for {
		r.mu.RLock()
		index, changed := current(), r.changed
		r.mu.RUnlock()
		if index >= atLeast {
			return index, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return index, ctx.Err()
		}
	}
}

// changedLocked gives the named services a new index and wakes all waiters.
func (r *Registry) changedLocked(services ...string) {
	r.index++
	for _, name := range services {
		if len(r.names[name]) == 0 {
			r.gone = r.index
			delete(r.last, name)
			continue
		}
		r.last[name] = r.index
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// serviceIndex is the index of the last change that concerns a service. For
// one that has no instances it is that of the last disappearance of any, as
// in Consul: the registry remembers no names that are gone.
func (r *Registry) serviceIndex(name string) uint64 {
	if index, ok := r.last[name]; ok {
		return index
	}
	return max(r.gone, 1)
}
