package devregistry

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

func (r *Registry) catalogDatacenters(*call) (any, error) { return []string{datacenter}, nil }

func (r *Registry) catalogNodes(c *call) (any, error) {
	return r.watch(c, theNode, func() any {
		if c.otherNodes() {
			return rows[node]{}
		}
		return rows[node]{nodeWire(r.node)}
	})
}

// otherNodes says whether a query asks for nodes with some metadata; the one node
// has none.
func (c *call) otherNodes() bool {
	return slices.ContainsFunc(c.q["node-meta"], func(pair string) bool { return pair != "" })
}

// tagged is every service with the tags of all its instances, which a filter
// chooses from.
type tagged rows[catalogEntry]

func (t tagged) sift(f *filter) (any, error) {
	kept, err := rows[catalogEntry](t).sift(f)
	if err != nil {
		return nil, err
	}
	return tagged(kept.(rows[catalogEntry])).shape(), nil
}

func (t tagged) shape() any {
	tags := map[string][]string{}
	for _, entry := range t {
		tags[entry.ServiceName] = append(tags[entry.ServiceName], entry.ServiceTags...)
	}
	return distinct(tags)
}

// tags are those of each service.
func (r *Registry) tags() map[string][]string {
	tags := make(map[string][]string, len(r.names))
	for name, instances := range r.names {
		tags[name] = nil
		for _, s := range instances {
			tags[name] = append(tags[name], s.Tags...)
		}
	}
	return distinct(tags)
}

func distinct(tags map[string][]string) map[string][]string {
	for name, all := range tags {
		slices.Sort(all)
		tags[name] = list(slices.Compact(all))
	}
	return tags
}

func (r *Registry) catalogServices(c *call) (any, error) {
	return r.watch(c, allServices, func() any {
		if c.otherNodes() {
			return tagged{}
		}
		if !c.has("filter") {
			return r.tags()
		}
		all := make(tagged, 0, len(r.services))
		for _, s := range r.services {
			all = append(all, s.catalogWire(r.node))
		}
		return all
	})
}

func (r *Registry) catalogService(c *call) (any, error) {
	name := c.PathValue("name")
	return r.watch(c, ofService+name, func() any {
		answer := rows[catalogEntry]{}
		for _, s := range r.asked(c, name) {
			answer = append(answer, s.catalogWire(r.node))
		}
		return answer
	})
}

// asked are the instances of a service with the tags and on the nodes that a query
// names.
func (r *Registry) asked(c *call, name string) []*service {
	if c.otherNodes() {
		return nil
	}
	return slices.DeleteFunc(r.sortedByName(name), func(s *service) bool { return !hasTags(s, c.q["tag"]) })
}

// onNode is the node with its services, which a filter chooses from.
type onNode struct {
	Node     node
	Services table[agentService]
}

func (n onNode) sift(f *filter) (any, error) {
	kept, err := n.Services.sift(f)
	return map[string]any{"Node": n.Node, "Services": kept}, err
}

// catalogNode answers null for a node that is not there, as Consul does.
func (r *Registry) catalogNode(c *call) (any, error) {
	return r.watch(c, allServices, func() any {
		if !r.isNode(c) {
			return (*struct{})(nil)
		}
		services := make(table[agentService], len(r.services))
		for id, s := range r.services {
			services[id] = s.agentWire()
		}
		return onNode{nodeWire(r.node), services}
	})
}

// listedOnNode is onNode with a list.
type listedOnNode struct {
	Node     *node
	Services rows[agentService]
}

func (n listedOnNode) sift(f *filter) (any, error) {
	kept, err := n.Services.sift(f)
	return map[string]any{"Node": n.Node, "Services": kept}, err
}

func (r *Registry) catalogNodeServices(c *call) (any, error) {
	return r.watch(c, allServices, func() any {
		if !r.isNode(c) {
			return listedOnNode{Services: rows[agentService]{}}
		}
		services := make(rows[agentService], 0, len(r.services))
		for _, s := range r.services {
			services = append(services, s.agentWire())
		}
		slices.SortFunc(services, func(a, b agentService) int { return cmp.Compare(a.ID, b.ID) })
		self := nodeWire(r.node)
		return listedOnNode{&self, services}
	})
}

// isNode says whether a query is about the one node, which has a name and an ID.
func (r *Registry) isNode(c *call) bool {
	name := c.PathValue("node")
	return name == r.node || strings.EqualFold(name, nodeID)
}

func (r *Registry) sortedByName(name string) []*service {
	return slices.SortedFunc(maps.Values(r.names[name]), func(a, b *service) int { return cmp.Compare(a.ID, b.ID) })
}

// hasTags says whether s has every one of the tags, in any case.
func hasTags(s *service, tags []string) bool {
	for _, tag := range tags {
		if tag != "" && !slices.ContainsFunc(s.Tags, func(own string) bool { return strings.EqualFold(own, tag) }) {
			return false
		}
	}
	return true
}
