package devregistry

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
)

func (r *Registry) catalogDatacenters(http.ResponseWriter, *http.Request) (any, error) {
	return []string{datacenter}, nil
}

func (r *Registry) catalogNodes(w http.ResponseWriter, req *http.Request) (any, error) {
	// The one node never changes, so a watcher of it waits its time out.
	if err := r.block(w, req, func() uint64 { return 1 }); err != nil {
		return nil, err
	}
	if hasNodeMeta(req) {
		return []node{}, nil
	}
	return []node{nodeWire(r.node)}, nil
}

// hasNodeMeta says whether a query asks for nodes with some metadata; the
// one node has none.
func hasNodeMeta(req *http.Request) bool { return req.URL.Query().Get("node-meta") != "" }

// catalogServices maps every service to the tags of all its instances.
func (r *Registry) catalogServices(w http.ResponseWriter, req *http.Request) (any, error) {
	if err := r.block(w, req, func() uint64 { return r.index }); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := make(map[string][]string, len(r.names)+1)
	if hasNodeMeta(req) {
		return answer, nil
	}
	for name, instances := range r.names {
		tags := []string{}
		for _, s := range instances {
			tags = append(tags, s.Tags...)
		}
		slices.Sort(tags)
		answer[name] = slices.Compact(tags)
	}
	return answer, nil
}

func (r *Registry) catalogService(w http.ResponseWriter, req *http.Request) (any, error) {
	name := req.PathValue("name")
	if err := r.block(w, req, func() uint64 { return r.serviceIndex(name) }); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer := []catalogEntry{}
	for _, s := range r.sortedByName(name) {
		if hasTags(s, req.URL.Query()["tag"]) && !hasNodeMeta(req) {
			answer = append(answer, s.catalogWire(r.node))
		}
	}
	return answer, nil
}

// catalogNode answers null for a node that is not there, as Consul does.
func (r *Registry) catalogNode(w http.ResponseWriter, req *http.Request) (any, error) {
	if err := r.block(w, req, func() uint64 { return r.index }); err != nil {
		return nil, err
	}
	var answer struct {
		Node     node
		Services map[string]agentService
	}
	if req.PathValue("node") != r.node {
		return (*struct{})(nil), nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	answer.Node = nodeWire(r.node)
	answer.Services = make(map[string]agentService, len(r.services))
	for id, s := range r.services {
		answer.Services[id] = s.agentWire()
	}
	return answer, nil
}

func (r *Registry) sortedByName(name string) []*service {
	return slices.SortedFunc(maps.Values(r.names[name]), func(a, b *service) int { return cmp.Compare(a.ID, b.ID) })
}

// hasTags says whether s has every one of the tags.
func hasTags(s *service, tags []string) bool {
	for _, tag := range tags {
		if tag != "" && !slices.Contains(s.Tags, tag) {
			return false
		}
	}
	return true
}
