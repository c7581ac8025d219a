package devregistry

import (
	"cmp"
	"context"
	"maps"
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
	follows  map[*follower]struct{}
}

// follower is somebody who is told which services have changed. What waits for
// it is bounded by the number of services.
type follower struct {
	wake    chan struct{}   // has room for one: changed holds something
	changed map[string]bool // guarded by Registry.mu
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
		follows:  make(map[*follower]struct{}),
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

// Passing returns the instances of one service whose checks all pass, sorted by
// ID.
func (r *Registry) Passing(service string) []Instance {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var passing []Instance
	for _, s := range r.names[service] {
		if r.passing(s) {
			passing = append(passing, clone(s.Instance))
		}
	}
	slices.SortFunc(passing, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return passing
}

// Follow calls changed with all services there are, and then with those that
// have changed, until ctx ends. A service that changes several times while
// changed runs is named once.
func (r *Registry) Follow(ctx context.Context, changed func(services []string)) {
	f := &follower{wake: make(chan struct{}, 1), changed: map[string]bool{}}
	r.mu.Lock()
	for name := range r.names {
		f.changed[name] = true
	}
	f.wake <- struct{}{}
	r.follows[f] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.follows, f)
		r.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			r.mu.Lock()
			names := slices.Sorted(maps.Keys(f.changed))
			clear(f.changed)
			r.mu.Unlock()
			changed(names)
		}
	}
}

func (f *follower) tell(services []string) {
	for _, name := range services {
		f.changed[name] = true
	}
	select {
	case f.wake <- struct{}{}:
	default: // it has yet to look
	}
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
	for f := range r.follows {
		f.tell(services)
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
