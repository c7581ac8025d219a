package devregistry

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

const (
	nodeName   = "mesh"
	datacenter = "dc1"

	statusPassing  = "passing"
	statusWarning  = "warning"
	statusCritical = "critical"
)

// weights are Consul's: how much traffic an instance takes by DNS.
type weights struct{ Passing, Warning int }

var defaultWeights = weights{Passing: 1, Warning: 1}

// service is an instance with what only Consul's API knows about it.
type service struct {
	Instance
	own      bool // registered by mesh, not over HTTP
	weights  weights
	tagged   map[string]taggedAddress
	override bool // EnableTagOverride
	created  uint64
	modified uint64
}

type taggedAddress struct {
	Address string
	Port    int
}

func (s *service) equal(o *service) bool {
	return s.ID == o.ID && s.Service == o.Service && s.Address == o.Address && s.Port == o.Port &&
		slices.Equal(s.Tags, o.Tags) && maps.Equal(s.Meta, o.Meta) &&
		s.weights == o.weights && maps.Equal(s.tagged, o.tagged) && s.override == o.override
}

// check is a health check; one without a service is the node's.
type check struct {
	id, name, notes, output, kind, status string
	serviceID, serviceName                string
	serviceTags                           []string

	ttl      time.Duration // zero: not a TTL check
	deadline time.Duration // since the registry's epoch: when the TTL runs out

	reapAfter     time.Duration // zero: a critical service stays
	criticalSince time.Duration // since the registry's epoch; meaningful while critical

	created, modified uint64
}

func clone(in Instance) Instance {
	in.Tags = slices.Clone(in.Tags)
	in.Meta = maps.Clone(in.Meta)
	return in
}

// putService adds or replaces a service. When it moves to another name the
// old name changes too.
func (r *Registry) putService(s *service) {
	s.created, s.modified = r.index+1, r.index+1
	if old, ok := r.services[s.ID]; ok {
		s.created = old.created
		if old.Service != s.Service {
			r.unname(old)
			r.changedLocked(old.Service)
			r.renameChecks(s)
		}
	}
	r.services[s.ID] = s
	if r.names[s.Service] == nil {
		r.names[s.Service] = make(map[string]*service)
	}
	r.names[s.Service][s.ID] = s
}

func (r *Registry) renameChecks(s *service) {
	for _, c := range r.checksOn[s.ID] {
		c.serviceName, c.serviceTags = s.Service, s.Tags
	}
}

func (r *Registry) unname(s *service) {
	delete(r.names[s.Service], s.ID)
	if len(r.names[s.Service]) == 0 {
		delete(r.names, s.Service)
	}
}

func (r *Registry) removeService(id string) bool {
	s, ok := r.services[id]
	if !ok {
		return false
	}
	delete(r.services, id)
	r.unname(s)
	for checkID := range r.checksOn[id] {
		delete(r.checks, checkID)
	}
	delete(r.checksOn, id)
	r.changedLocked(s.Service)
	return true
}

// putCheck adds or replaces a check. One that is registered again keeps its
// status, as in Consul: a service that re-registers was not ill for it.
func (r *Registry) putCheck(c *check) {
	c.created, c.modified = r.index+1, r.index+1
	if old, ok := r.checks[c.id]; ok {
		c.created, c.status, c.output = old.created, old.status, old.output
		r.dropCheck(old)
	}
	c.criticalSince = r.now()
	if c.ttl > 0 {
		c.deadline = r.now() + c.ttl
	}
	r.checks[c.id] = c
	if r.checksOn[c.serviceID] == nil {
		r.checksOn[c.serviceID] = make(map[string]*check)
	}
	r.checksOn[c.serviceID][c.id] = c
	if c.ttl > 0 || c.reapAfter > 0 {
		r.lookAgain()
	}
}

// setStatus records what a check found. It changes the index only when
// something changed, so that a heartbeat wakes nobody.
func (r *Registry) setStatus(c *check, status, output string) {
	if c.status == status && c.output == output {
		return
	}
	if status == statusCritical && c.status != statusCritical {
		c.criticalSince = r.now()
		r.lookAgain()
	}
	c.status, c.output, c.modified = status, output, r.index+1
	r.changedLocked(r.concerned(c)...)
}

// concerned lists the services whose health a check changes: its own, or
// all of them for a check of the node.
func (r *Registry) concerned(c *check) []string {
	if c.serviceID != "" {
		return []string{c.serviceName}
	}
	return slices.Collect(maps.Keys(r.names))
}

func (r *Registry) removeCheck(id string) bool {
	c, ok := r.checks[id]
	if !ok {
		return false
	}
	r.dropCheck(c)
	r.changedLocked(r.concerned(c)...)
	return true
}

func (r *Registry) dropCheck(c *check) {
	delete(r.checks, c.id)
	delete(r.checksOn[c.serviceID], c.id)
}

// checksOf returns the checks that decide about a service: the node's and
// its own, sorted by ID.
func (r *Registry) checksOf(serviceID string) []*check {
	node, own := r.checksOn[""], r.checksOn[serviceID]
	found := make([]*check, 0, len(node)+len(own))
	found = slices.AppendSeq(found, maps.Values(node))
	if serviceID != "" {
		found = slices.AppendSeq(found, maps.Values(own))
	}
	sortChecks(found)
	return found
}

func sortChecks(checks []*check) {
	slices.SortFunc(checks, func(a, b *check) int { return cmp.Compare(a.id, b.id) })
}

func (r *Registry) passing(s *service) bool {
	return allPass(r.checksOn[""]) && allPass(r.checksOn[s.ID])
}

func allPass(checks map[string]*check) bool {
	for _, c := range checks {
		if c.status != statusPassing {
			return false
		}
	}
	return true
}

func (r *Registry) now() time.Duration { return time.Since(r.epoch) }
