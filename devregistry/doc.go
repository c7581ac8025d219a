// Package devregistry is mesh's service registry for development: which
// instances of which services exist, and which of them are healthy.
//
// It has two faces. mesh registers the instances that it runs itself with
// [Registry.Register], hears what changes with [Registry.Follow] and reads the
// healthy ones with [Registry.Passing]. Everybody else speaks Consul's HTTP API to
// [Registry.Handler] and its DNS to [Registry.ServeDNS], so that the public Go
// client, and whatever else reads Consul, works against it unchanged.
//
// Instances and checks are in memory: what mesh runs is registered again by mesh,
// and others register on their own when they start, as they do with a Consul
// agent that was restarted. Keys are kept in a file when there is one.
//
// What is not there (prepared queries, service mesh, ACLs, more than one node)
// answers 501 and says why. See docs/registry.md.
package devregistry
