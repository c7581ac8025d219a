package devregistry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ebef7166/mesh/devregistry/internal/kv"
)

// Instance is one running copy of a service.
type Instance struct {
	ID      string
	Service string
	Address string // an IP address or a host name; "": the node's
	Port    int
	Tags    []string
	Meta    map[string]string
}

// Config is what a registry may be told. The zero value is a registry that keeps
// nothing and checks loopback alone.
type Config struct {
	// Keys is the file that the key/value store is kept in, 0600. "": it is
	// gone with the registry.
	Keys string
	// Containers are the subnets of containers now, which checks may be sent to.
	// Nil: there are none.
	Containers func() []netip.Prefix
	// Logger hears what goes wrong with nobody to answer to. Nil: nobody.
	Logger *slog.Logger
}

// Registry holds instances and their checks. Its methods may be called from
// many goroutines at once; none of them waits for a reader.
type Registry struct {
	config Config
	node   string
	kick   chan struct{} // a deadline moved nearer: Run looks again. Bound 1: one look is enough for many changes
	epoch  time.Time     // deadlines are durations since epoch, by the monotonic clock
	keys   *kv.Store
	kept   keeper

	mu        sync.RWMutex
	services  map[string]*service            // by service ID
	names     map[string]map[string]*service // by service name, then service ID
	checks    map[string]*check              // by check ID
	checksOn  map[string]map[string]*check   // by service ID ("" for the node's), then check ID
	deadlines deadlines                      // of checks that change by themselves
	topics    topics
	follows   map[*follower]struct{}
}

// follower is somebody who is told which services have changed. What waits for
// it is bounded by the number of services.
type follower struct {
	wake    chan struct{}   // has room for one: changed holds something
	changed map[string]bool // guarded by Registry.mu
}

// New returns a registry without instances, with the keys that were kept.
//
// Its first index is the time in milliseconds, so that a client which holds
// an index of an earlier run is answered at once instead of waiting for the
// index to catch up with its own.
func New(c Config) (*Registry, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Containers == nil {
		c.Containers = func() []netip.Prefix { return nil }
	}
	keys, err := kv.Open(c.Keys, c.Logger)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &Registry{
		config:   c,
		node:     nodeName,
		kick:     make(chan struct{}, 1),
		epoch:    now,
		keys:     keys,
		services: make(map[string]*service),
		names:    make(map[string]map[string]*service),
		checks:   make(map[string]*check),
		checksOn: make(map[string]map[string]*check),
		topics:   newTopics(uint64(now.UnixMilli())),
		follows:  make(map[*follower]struct{}),
	}, nil
}

// Register adds an instance that mesh runs itself and knows to be healthy.
// Registering the same instance again changes nothing and wakes nobody.
func (r *Registry) Register(in Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &service{Instance: clone(in), own: true, weights: defaultWeights}
	switch old, known := r.services[in.ID]; {
	case known && old.own && old.equal(s):
		return
	case known && !old.own: // somebody has taken its name: with their checks, too
		r.removeService(in.ID)
	}
	r.putService(s)
	r.putCheck(&check{
		id:          ownPrefix + in.ID,
		name:        "Run by mesh",
		notes:       "registered by mesh while it is healthy",
		kind:        ownCheck,
		status:      statusPassing,
		serviceID:   in.ID,
		serviceName: in.Service,
		serviceTags: s.Tags,
	})
	r.serviceChanged(in.Service)
}

// Deregister removes an instance and its checks, whoever registered it.
func (r *Registry) Deregister(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeService(id)
}

// Err says why keys are not kept on disk now; nil: they are.
func (r *Registry) Err() error { return r.keys.Err() }

// Passing returns the instances of one service whose own checks all pass, sorted by
// ID. Checks of the node, which anybody may register, are for those who ask over
// HTTP and DNS.
func (r *Registry) Passing(service string) []Instance {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var passing []Instance
	for _, s := range r.names[service] {
		if worst(r.checksOn[s.ID]) == statusPassing {
			passing = append(passing, clone(s.Instance))
		}
	}
	slices.SortFunc(passing, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return passing
}

// Against says in words which checks of an instance do not pass, those of the node
// aside, as [Registry.Passing] does.
func (r *Registry) Against(id string) (words []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, c := range r.checksOn[id] {
		switch {
		case c.kind == maintenanceCheck:
			words = append(words, fmt.Sprintf("it is in maintenance mode in the registry: %s", c.notes))
		case c.status != statusPassing:
			words = append(words, fmt.Sprintf("its check %s in the registry is %s", c.id, c.status))
		}
	}
	slices.Sort(words)
	return words
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

// serviceChanged wakes those who watch a service that came, changed or went, with
// its checks.
func (r *Registry) serviceChanged(name string) {
	r.topics.index++
	r.topics.touch(allServices, allChecks)
	r.healthChanged(name)
}

// checkChanged wakes those whose view a check is part of.
func (r *Registry) checkChanged(c *check) {
	r.topics.index++
	r.topics.touch(allChecks)
	r.healthChanged(r.concerned(c)...)
}

func (r *Registry) healthChanged(names ...string) {
	for _, name := range names {
		if len(r.names[name]) == 0 {
			r.topics.forget(ofService + name)
		} else {
			r.topics.touch(ofService + name)
		}
	}
	for f := range r.follows {
		f.tell(names)
	}
}
