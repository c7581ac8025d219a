package devregistry

import "net/http"

// healthService is the query that clients balance by
// (https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service).
func (r *Registry) healthService(c *call) (any, error) {
	name := c.PathValue("name")
	onlyPassing, err := flagged(c.q, statusPassing)
	if err != nil {
		return nil, err
	}
	return r.watch(c, ofService+name, func() any {
		answer := rows[healthEntry]{}
		for _, s := range r.asked(c, name) {
			if !onlyPassing || r.status(s) == statusPassing {
				answer = append(answer, healthEntry{nodeWire(r.node), s.agentWire(), r.wireChecks(r.checksOf(s.ID))})
			}
		}
		return answer
	})
}

func (r *Registry) healthChecks(c *call) (any, error) {
	name := c.PathValue("name")
	return r.watch(c, ofService+name, func() any {
		answer := rows[healthCheck]{}
		for _, s := range r.asked(c, name) {
			for _, check := range r.checksOf(s.ID) {
				if check.serviceID == s.ID {
					answer = append(answer, check.wire(r.node))
				}
			}
		}
		return answer
	})
}

func (r *Registry) healthNode(c *call) (any, error) {
	there := r.isNode(c)
	return r.watch(c, allChecks, func() any {
		return r.checksThat(func(*check) bool { return there })
	})
}

func (r *Registry) healthState(c *call) (any, error) {
	state := c.PathValue("state")
	switch state {
	case "any", statusPassing, statusWarning, statusCritical:
	default:
		return nil, fail(http.StatusBadRequest, "Invalid check state %q: it is any, passing, warning or critical", state)
	}
	return r.watch(c, allChecks, func() any {
		return r.checksThat(func(check *check) bool {
			return !c.otherNodes() && (state == "any" || check.status == state)
		})
	})
}

func (r *Registry) checksThat(keep func(*check) bool) rows[healthCheck] {
	var found []*check
	for _, c := range r.checks {
		if keep(c) {
			found = append(found, c)
		}
	}
	sortChecks(found)
	return r.wireChecks(found)
}

func (r *Registry) wireChecks(checks []*check) rows[healthCheck] {
	answer := make(rows[healthCheck], 0, len(checks))
	for _, c := range checks {
		answer = append(answer, c.wire(r.node))
	}
	return answer
}
