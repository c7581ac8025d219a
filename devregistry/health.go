package devregistry

import (
	"net/http"
	"net/url"
	"strconv"
)

// healthService is the query that clients balance by.
func (r *Registry) healthService(w http.ResponseWriter, req *http.Request) (any, error) {
	name, q := req.PathValue("name"), req.URL.Query()
	onlyPassing, err := passingOption(q)
	if err != nil {
		return nil, err
	}
	if err := r.block(w, req, func() uint64 { return r.serviceIndex(name) }); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := []healthEntry{}
	for _, s := range r.sortedByName(name) {
		if hasTags(s, q["tag"]) && (!onlyPassing || r.passing(s)) && !hasNodeMeta(req) {
			answer = append(answer, healthEntry{nodeWire(r.node), s.agentWire(), r.wireChecks(r.checksOf(s.ID))})
		}
	}
	return answer, nil
}

// passingOption reads ?passing: present means true, unless it says false.
func passingOption(q url.Values) (bool, error) {
	if !q.Has("passing") {
		return false, nil
	}
	if q.Get("passing") == "" {
		return true, nil
	}
	passing, err := strconv.ParseBool(q.Get("passing"))
	if err != nil {
		return false, fail(http.StatusBadRequest, "Invalid value for ?passing")
	}
	return passing, nil
}

func (r *Registry) healthChecks(w http.ResponseWriter, req *http.Request) (any, error) {
	name := req.PathValue("name")
	if err := r.block(w, req, func() uint64 { return r.serviceIndex(name) }); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := []healthCheck{}
	for _, s := range r.sortedByName(name) {
		for _, c := range r.checksOf(s.ID) {
			if c.serviceID == s.ID {
				answer = append(answer, c.wire(r.node))
			}
		}
	}
	return answer, nil
}

func (r *Registry) healthNode(w http.ResponseWriter, req *http.Request) (any, error) {
	if req.PathValue("node") != r.node {
		return []healthCheck{}, r.block(w, req, func() uint64 { return r.index })
	}
	return r.allChecks(w, req, func(*check) bool { return true })
}

func (r *Registry) healthState(w http.ResponseWriter, req *http.Request) (any, error) {
	state := req.PathValue("state")
	switch state {
	case "any", statusPassing, statusWarning, statusCritical:
		return r.allChecks(w, req, func(c *check) bool { return state == "any" || c.status == state })
	}
	return nil, fail(http.StatusBadRequest, "Invalid check state %q", state)
}

func (r *Registry) allChecks(w http.ResponseWriter, req *http.Request, keep func(*check) bool) (any, error) {
	if err := r.block(w, req, func() uint64 { return r.index }); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []*check
	for _, c := range r.checks {
		if keep(c) {
			found = append(found, c)
		}
	}
	sortChecks(found)
	return r.wireChecks(found), nil
}

func (r *Registry) wireChecks(checks []*check) []healthCheck {
	answer := make([]healthCheck, 0, len(checks))
	for _, c := range checks {
		answer = append(answer, c.wire(r.node))
	}
	return answer
}
