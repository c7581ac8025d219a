package devregistry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
)

func (r *Registry) statusLeader(*call) (any, error) { return "127.0.0.1:8300", nil }

func (r *Registry) statusPeers(*call) (any, error) { return []string{"127.0.0.1:8300"}, nil }

// agentSelf tells what clients look at to find out what they talk to.
func (r *Registry) agentSelf(*call) (any, error) {
	return map[string]any{
		"Config": map[string]any{
			"Datacenter": datacenter, "PrimaryDatacenter": datacenter, "NodeName": r.node,
			"NodeID": nodeID, "Server": true, "Revision": "mesh", "Version": "1.21.0+mesh",
		},
		"DebugConfig": map[string]any{},
		"Member":      r.member(),
		"Meta":        map[string]string{},
	}, nil
}

func (r *Registry) agentMembers(*call) (any, error) { return rows[member]{r.member()}, nil }

func (r *Registry) member() member {
	return member{Name: r.node, Addr: nodeAddress, Port: 8301, Status: 1,
		Tags: map[string]string{"dc": datacenter, "role": "consul", "id": nodeID}}
}

func (r *Registry) agentServices(*call) (any, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := make(table[agentService], len(r.services))
	for id, s := range r.services {
		answer[id] = s.agentWire()
	}
	return answer, nil
}

// agentService answers at once, or with ?hash when what the service says is no
// longer what has that hash: the hash-based blocking query of Consul.
func (r *Registry) agentService(c *call) (any, error) {
	id, seen := c.PathValue("id"), c.q.Get("hash")
	ctx, done, err := c.patience()
	if err != nil {
		return nil, err
	}
	defer done()
	for {
		answer, index, err := r.serviceNow(id)
		if err != nil {
			return nil, err
		}
		if seen == "" || seen != answer.ContentHash || ctx.Err() != nil {
			c.w.Header().Set("X-Consul-ContentHash", answer.ContentHash)
			return answer, nil
		}
		r.wait(ctx, allServices, index)
	}
}

func (r *Registry) serviceNow(id string) (agentService, uint64, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.services[id]
	if !ok {
		return agentService{}, 0, fail(http.StatusNotFound, "unknown service ID: %s", id)
	}
	answer := s.agentWire()
	answer.ContentHash = contentHash(answer)
	return answer, r.topics.at(allServices), nil
}

// contentHash identifies what a service says, whenever it was said.
func contentHash(s agentService) string {
	s.CreateIndex, s.ModifyIndex = 0, 0
	body, _ := json.Marshal(s) // strings, numbers and maps of them cannot fail
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// agentHealthByID and agentHealthByName answer with the status as the HTTP
// status too (200, 429, 503), for load balancers that read nothing else.
func (r *Registry) agentHealthByID(c *call) (any, error) {
	id := c.PathValue("id")
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.services[id]
	if !ok {
		return nil, fail(http.StatusNotFound, "ServiceId %s not found", id)
	}
	answer := r.agentHealth(s)
	return c.health(answer.AggregatedStatus, answer)
}

func (r *Registry) agentHealthByName(c *call) (any, error) {
	name := c.PathValue("name")
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.names[name]) == 0 {
		return nil, fail(http.StatusNotFound, "ServiceName %s Not Found", name)
	}
	var answer []agentServiceHealth
	status := statusPassing
	for _, s := range r.sortedByName(name) {
		one := r.agentHealth(s)
		answer = append(answer, one)
		status = worse(status, one.AggregatedStatus)
	}
	return c.health(status, answer)
}

// health answers with a status, in words where the client asked for that.
func (c *call) health(status string, answer any) (any, error) {
	code := map[string]int{statusPassing: http.StatusOK, statusWarning: http.StatusTooManyRequests}[status]
	if code == 0 {
		code = http.StatusServiceUnavailable
	}
	if c.q.Get("format") == "text" {
		return nil, fail(code, "%s", status)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(code)
	return answer, nil
}

func (r *Registry) agentHealth(s *service) agentServiceHealth {
	answer := agentServiceHealth{AggregatedStatus: statusPassing, Service: s.agentWire(), Checks: rows[healthCheck]{}}
	for _, c := range r.checksOf(s.ID) {
		answer.AggregatedStatus = worse(answer.AggregatedStatus, c.status)
		answer.Checks = append(answer.Checks, c.wire(r.node))
	}
	return answer
}
