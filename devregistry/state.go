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
)

// weights are Consul's: how much traffic an instance takes by DNS.
type weights struct{ Passing, Warning int }

var defaultWeights = weights{Passing: 1, Warning: 1}

// service is an instance with what only Consul's API knows about it. It is not
// changed once it is put: answers share its tags and metadata.
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

func clone(in Instance) Instance {
	in.Tags = slices.Clone(in.Tags)
	in.Meta = maps.Clone(in.Meta)
	return in
}

// putService adds or replaces a service. When it moves to another name the
// old name changes too.
func (r *Registry) putService(s *service) {
	s.created, s.modified = r.topics.index+1, r.topics.index+1
	if old, ok := r.services[s.ID]; ok {
		s.created = old.created
		if old.Service != s.Service {
			r.unname(old)
			r.serviceChanged(old.Service)
		}
		r.renameChecks(s)
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
	for _, c := range r.checksOn[id] {
		r.dropCheck(c)
	}
	delete(r.checksOn, id)
	r.serviceChanged(s.Service)
	return true
}

// putCheck adds or replaces a check. One that is registered again keeps its
// status, as in Consul: a service that re-registers was not ill for it.
func (r *Registry) putCheck(c *check) {
	c.created, c.modified = r.topics.index+1, r.topics.index+1
	if old, ok := r.checks[c.id]; ok {
		c.created, c.status, c.output = old.created, old.status, old.output
		if old.sameAs(c) {
			c.modified = old.modified
		}
		r.forgetCheck(old)
	}
	c.criticalSince = r.now()
	c.deadline = r.now() + c.ttl
	c.nextProbe = r.now()
	r.checks[c.id] = c
	if r.checksOn[c.serviceID] == nil {
		r.checksOn[c.serviceID] = make(map[string]*check)
	}
	r.checksOn[c.serviceID][c.id] = c
	r.schedule(c)
}

// setStatus records what a check found. It changes the index only with the status,
// so that a heartbeat wakes nobody, nor an output with the time of day in it.
func (r *Registry) setStatus(c *check, status, output string) {
	if c.status == status {
		r.setOutput(c, output)
		return
	}
	if status == statusCritical && c.status != statusCritical {
		c.criticalSince = r.now()
		r.keys.CheckFailed(c.id)
	}
	c.status, c.output, c.modified = status, output, r.topics.index+1
	r.schedule(c)
	r.checkChanged(c)
}

// setOutput records what a check says while its status stays: for whoever asks, and
// waking nobody.
func (r *Registry) setOutput(c *check, output string) {
	if c.output == output {
		return
	}
	c.output = output
	r.topics.reword(allChecks)
	for _, name := range r.concerned(c) {
		r.topics.reword(ofService + name)
	}
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
	r.checkChanged(c)
	return true
}

// dropCheck removes a check for good, and with it the sessions that depend on it.
func (r *Registry) dropCheck(c *check) {
	r.forgetCheck(c)
	r.keys.CheckFailed(c.id)
}

func (r *Registry) forgetCheck(c *check) {
	delete(r.checks, c.id)
	delete(r.checksOn[c.serviceID], c.id)
	r.deadlines.remove(c)
	if c.stop != nil {
		c.stop()
	}
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

// status is the worst of the checks that decide about a service.
func (r *Registry) status(s *service) string {
	return worse(worst(r.checksOn[""]), worst(r.checksOn[s.ID]))
}

func worst(checks map[string]*check) string {
	status := statusPassing
	for _, c := range checks {
		status = worse(status, c.status)
	}
	return status
}

func worse(a, b string) string {
	if a == statusCritical || b == statusCritical {
		return statusCritical
	}
	if a == statusWarning || b == statusWarning {
		return statusWarning
	}
	return statusPassing
}

func (r *Registry) now() time.Duration { return time.Since(r.epoch) }
