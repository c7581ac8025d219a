package devregistry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
)

func (r *Registry) statusLeader(http.ResponseWriter, *http.Request) (any, error) {
	return "127.0.0.1:8300", nil
}

func (r *Registry) statusPeers(http.ResponseWriter, *http.Request) (any, error) {
	return []string{"127.0.0.1:8300"}, nil
}

// agentSelf tells what clients look at to find out what they talk to.
func (r *Registry) agentSelf(http.ResponseWriter, *http.Request) (any, error) {
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

func (r *Registry) agentMembers(http.ResponseWriter, *http.Request) (any, error) {
	return []any{r.member()}, nil
}

func (r *Registry) member() map[string]any {
	return map[string]any{
		"Name": r.node, "Addr": nodeAddress, "Port": 8301, "Status": 1,
		"Tags": map[string]string{"dc": datacenter, "role": "consul", "id": nodeID},
	}
}

func (r *Registry) agentServices(http.ResponseWriter, *http.Request) (any, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := make(map[string]agentService, len(r.services))
	for id, s := range r.services {
		answer[id] = s.agentWire()
	}
	return answer, nil
}

func (r *Registry) agentService(w http.ResponseWriter, req *http.Request) (any, error) {
	id := req.PathValue("id")
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.services[id]
	if !ok {
		return nil, fail(http.StatusNotFound, "unknown service ID: %s", id)
	}
	answer := s.agentWire()
	answer.ContentHash = contentHash(answer)
	w.Header().Set("X-Consul-ContentHash", answer.ContentHash)
	return answer, nil
}

// contentHash identifies what a service says, so that a client can tell
// whether it changed.
func contentHash(s agentService) string {
	body, _ := json.Marshal(s) // strings, numbers and maps of them cannot fail
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

func (r *Registry) registerService(_ http.ResponseWriter, req *http.Request) (any, error) {
	var body serviceRegistration
	if err := decode(req, &body); err != nil {
		return nil, err
	}
	s, checks, err := body.parse()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.services[s.ID]; !known && len(r.services) >= maxServices {
		return nil, fail(http.StatusInsufficientStorage, "the registry holds %d services, its limit", maxServices)
	}
	r.addService(s, checks, req.URL.Query().Has("replace-existing-checks"))
	return nil, nil
}

// addService puts a service and its checks. Registering what is there
// already only refreshes its TTLs and wakes nobody.
func (r *Registry) addService(s *service, checks []*check, replace bool) {
	old, known := r.services[s.ID]
	changed := !known || old.own || !old.equal(s)
	if changed {
		r.putService(s)
	}
	keep := make(map[string]bool, len(checks))
	for _, c := range checks {
		keep[c.id] = true
		if before, ok := r.checks[c.id]; !ok || !before.sameAs(c) {
			changed = true
		}
		r.putCheck(c)
	}
	for id, c := range r.checksOn[s.ID] {
		if !keep[id] && (replace || c.kind == ownCheck) {
			r.dropCheck(c)
			changed = true
		}
	}
	if changed {
		r.changedLocked(s.Service)
	}
}

func (r *Registry) deregisterService(_ http.ResponseWriter, req *http.Request) (any, error) {
	id := req.PathValue("id")
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.removeService(id) {
		return nil, fail(http.StatusNotFound, "Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id)
	}
	return nil, nil
}

func (r *Registry) agentChecks(http.ResponseWriter, *http.Request) (any, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := make(map[string]healthCheck, len(r.checks))
	for id, c := range r.checks {
		answer[id] = c.wire(r.node)
	}
	return answer, nil
}

// agentHealthByID and agentHealthByName answer with the status as the HTTP
// status too (200, 429, 503), for load balancers that read nothing else.
func (r *Registry) agentHealthByID(w http.ResponseWriter, req *http.Request) (any, error) {
	id := req.PathValue("id")
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.services[id]
	if !ok {
		return nil, fail(http.StatusNotFound, "ServiceId %s not found", id)
	}
	answer := r.agentHealth(s)
	w.WriteHeader(healthStatus(answer.AggregatedStatus))
	return answer, nil
}

func (r *Registry) agentHealthByName(w http.ResponseWriter, req *http.Request) (any, error) {
	name := req.PathValue("name")
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.names[name]) == 0 {
		return nil, fail(http.StatusNotFound, "ServiceName %s Not Found", name)
	}
	var answer []agentServiceHealth
	worst := statusPassing
	for _, s := range r.sortedByName(name) {
		one := r.agentHealth(s)
		answer = append(answer, one)
		worst = worse(worst, one.AggregatedStatus)
	}
	w.WriteHeader(healthStatus(worst))
	return answer, nil
}

func (r *Registry) agentHealth(s *service) agentServiceHealth {
	answer := agentServiceHealth{AggregatedStatus: statusPassing, Service: s.agentWire(), Checks: []healthCheck{}}
	for _, c := range r.checksOf(s.ID) {
		answer.AggregatedStatus = worse(answer.AggregatedStatus, c.status)
		answer.Checks = append(answer.Checks, c.wire(r.node))
	}
	return answer
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

func healthStatus(status string) int {
	switch status {
	case statusPassing:
		return http.StatusOK
	case statusWarning:
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}
