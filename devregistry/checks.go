package devregistry

import (
	"net/http"
	"slices"
)

// ownCheck is the type of the check that mesh puts on what it runs itself.
const ownCheck = "mesh"

// sameAs says whether registering o over c would change what a reader sees.
func (c *check) sameAs(o *check) bool {
	return c.name == o.name && c.notes == o.notes && c.kind == o.kind && c.serviceID == o.serviceID &&
		c.ttl == o.ttl && c.reapAfter == o.reapAfter && slices.Equal(c.serviceTags, o.serviceTags)
}

func (r *Registry) registerCheck(_ http.ResponseWriter, req *http.Request) (any, error) {
	var body checkDefinition
	if err := decode(req, &body); err != nil {
		return nil, err
	}
	if body.Name == "" {
		return nil, fail(http.StatusBadRequest, "Missing check name")
	}
	c, err := body.parse(body.Name, body.Name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.serviceID != "" {
		s, ok := r.services[c.serviceID]
		if !ok {
			return nil, fail(http.StatusNotFound, "ServiceID %q does not exist", c.serviceID)
		}
		c.serviceName, c.serviceTags = s.Service, s.Tags
	}
	r.putCheck(c)
	r.changedLocked(r.concerned(c)...)
	return nil, nil
}

func (r *Registry) deregisterCheck(_ http.ResponseWriter, req *http.Request) (any, error) {
	id := req.PathValue("id")
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.removeCheck(id) {
		return nil, fail(http.StatusNotFound, "Unknown check ID %q. Ensure that the check ID is passed, not the check name.", id)
	}
	return nil, nil
}

// reportTTL handles pass, warn and fail.
func (r *Registry) reportTTL(status string) handler {
	return func(_ http.ResponseWriter, req *http.Request) (any, error) {
		return nil, r.report(req.PathValue("id"), status, req.URL.Query().Get("note"))
	}
}

func (r *Registry) updateTTL(_ http.ResponseWriter, req *http.Request) (any, error) {
	var body struct{ Status, Output string }
	if err := decode(req, &body); err != nil {
		return nil, err
	}
	switch body.Status {
	case statusPassing, statusWarning, statusCritical:
		return nil, r.report(req.PathValue("id"), body.Status, body.Output)
	}
	return nil, fail(http.StatusBadRequest, "Invalid check status: '%s'", body.Status)
}

// maxOutput is how much of a check's output is kept, as in Consul.
const maxOutput = 4 << 10

// report sets a TTL check's status and gives it another TTL to live.
func (r *Registry) report(id, status, output string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.checks[id]
	if !ok {
		return fail(http.StatusNotFound, "Unknown check ID %q. Ensure that the check ID is passed, not the check name.", id)
	}
	if c.ttl == 0 {
		return fail(http.StatusInternalServerError, "CheckID %q does not have associated TTL", id)
	}
	recovered := c.status == statusCritical
	c.deadline = r.now() + c.ttl
	r.setStatus(c, status, output[:min(len(output), maxOutput)])
	if recovered {
		r.lookAgain() // Run is not waiting for this check's deadline yet
	}
	return nil
}
