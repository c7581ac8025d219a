// Package devregistry is mesh's service registry for development: which
// instances of which services exist, and which of them are healthy.
//
// It has two faces. mesh registers the instances that it runs itself with
// [Registry.Register] and reads the healthy ones with [Registry.Snapshot].
// Everybody else speaks Consul's HTTP API to [Registry.Handler], so that the
// public Go client, and whatever else reads Consul, works against it
// unchanged.
//
// All state is in memory: what mesh runs is registered again by mesh, and
// others register on their own when they start, as they do with a Consul
// agent that was restarted.
//
// What is not there yet (checks that the registry makes itself, key/value,
// filter expressions, prepared queries, sessions, Connect, ACLs) answers 501
// and says so. See docs/registry.md.
package devregistry
