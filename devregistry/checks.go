package devregistry

import (
	"net/http"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
)

func (r *Registry) agentChecks(*call) (any, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := make(table[healthCheck], len(r.checks))
	for id, c := range r.checks {
		answer[id] = c.wire(r.node)
	}
	return answer, nil
}

func (r *Registry) registerCheck(c *call) (any, error) {
	var body checkDefinition
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Name == "" {
		return nil, fail(http.StatusBadRequest, "Missing check name")
	}
	added, err := body.parse(body.Name, body.Name, c.reach(r.config.Containers()))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.attach(added); err != nil {
		return nil, err
	}
	if len(r.checks) >= maxChecks {
		return nil, fail(http.StatusInsufficientStorage, "the registry holds %d checks, its limit", maxChecks)
	}
	if r.addCheck(added) {
		r.checkChanged(added)
	}
	return nil, nil
}

// attach makes a check one of the service that it names, if any. What mesh runs stays
// registered however long it is critical: mesh would not learn that it is gone, and
// registers an instance once.
func (r *Registry) attach(c *check) error {
	if c.serviceID == "" {
		return nil
	}
	s, ok := r.services[c.serviceID]
	if !ok {
		return fail(http.StatusNotFound, "ServiceID %q does not exist", c.serviceID)
	}
	c.serviceName, c.serviceTags = s.Service, s.Tags
	if s.own {
		c.reapAfter = 0
	}
	return nil
}

func (r *Registry) deregisterCheck(c *call) (any, error) {
	id := c.PathValue("id")
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, known := r.checks[id]; known && c.kind == ownCheck {
		return nil, checkOfMesh(id)
	}
	if !r.removeCheck(id) {
		return nil, unknownCheck(id)
	}
	return nil, nil
}

// checkOfMesh refuses to change the check by which mesh says that an instance is well.
func checkOfMesh(id string) error {
	return fail(http.StatusForbidden, "%s: checks whose ID begins with %s are on what is run and registered by mesh, and its own; another ID is free", id, ownPrefix)
}

func unknownCheck(id string) error {
	return fail(http.StatusNotFound, "Unknown check ID %q. Ensure that the check ID is passed, not the check name.", id)
}

// reportTTL handles pass, warn and fail.
func (r *Registry) reportTTL(status string) handler {
	return func(c *call) (any, error) {
		return nil, r.report(c.PathValue("id"), status, c.q.Get("note"))
	}
}

func (r *Registry) updateTTL(c *call) (any, error) {
	var body struct{ Status, Output string }
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	switch body.Status {
	case statusPassing, statusWarning, statusCritical:
		return nil, r.report(c.PathValue("id"), body.Status, body.Output)
	}
	return nil, fail(http.StatusBadRequest, "Invalid check status: '%s'", body.Status)
}

// report sets a TTL check's status and gives it another TTL to live.
func (r *Registry) report(id, status, output string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.checks[id]
	if !ok {
		return unknownCheck(id)
	}
	if c.ttl == 0 {
		return fail(http.StatusInternalServerError, "CheckID %q does not have associated TTL", id)
	}
	c.deadline = r.now() + c.ttl
	r.setStatus(c, status, output[:min(len(output), probe.MaxOutput)])
	return nil
}
