package devregistry

import (
	"cmp"
	"net/http"
)

// Maintenance mode is a critical check, as in Consul: who is under maintenance
// takes no traffic and stays registered.
// (https://developer.hashicorp.com/consul/api-docs/agent#enable-maintenance-mode)

func (r *Registry) maintainNode(c *call) (any, error) {
	return nil, r.maintain(c, &check{id: "_node_maintenance", name: "Node Maintenance Mode",
		notes: "Maintenance mode is enabled for this node, but no reason was provided. This is a default message."})
}

func (r *Registry) maintainService(c *call) (any, error) {
	id := c.PathValue("id")
	return nil, r.maintain(c, &check{id: "_service_maintenance:" + id, serviceID: id, name: "Service Maintenance Mode",
		notes: "Maintenance mode is enabled for this service, but no reason was provided. This is a default message."})
}

func (r *Registry) maintain(c *call, mark *check) error {
	if !c.has("enable") {
		return fail(http.StatusBadRequest, "Missing value for enable")
	}
	enable, err := flagged(c.q, "enable")
	if err != nil {
		return err
	}
	mark.kind, mark.status, mark.notes = maintenanceCheck, statusCritical, cmp.Or(c.q.Get("reason"), mark.notes)
	if len(mark.notes) > maxText {
		return fail(http.StatusBadRequest, "Invalid reason: it is longer than %d bytes", maxText)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if mark.serviceID != "" {
		s, ok := r.services[mark.serviceID]
		if !ok {
			return unknownService(mark.serviceID)
		}
		mark.serviceName, mark.serviceTags = s.Service, s.Tags
	}
	if !enable {
		r.removeCheck(mark.id)
	} else if r.addCheck(mark) {
		r.checkChanged(mark)
	}
	return nil
}
