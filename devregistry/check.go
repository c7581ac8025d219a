package devregistry

import (
	"context"
	"slices"
	"time"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
)

const (
	statusPassing  = string(probe.Passing)
	statusWarning  = string(probe.Warning)
	statusCritical = string(probe.Critical)
)

// Types of the checks that are neither TTL checks nor made by the registry.
const (
	ownCheck         = "mesh" // on what mesh runs itself
	maintenanceCheck = "maintenance"
)

// ownPrefix begins the IDs of the checks on what mesh runs, and nobody else's: a check
// that was there first would lend its status to mesh's.
const ownPrefix = "mesh:"

// check is a health check; one without a service is the node's.
type check struct {
	id, name, notes, output, kind, status string
	serviceID, serviceName                string
	serviceTags                           []string
	definition                            checkDefinition // as it was registered

	ttl      time.Duration // zero: not a TTL check
	deadline time.Duration // since the registry's epoch: when the TTL runs out

	target    *probe.Target // nil: not made by the registry
	interval  time.Duration // from one probe's end to the next
	nextProbe time.Duration // since the registry's epoch; never while one is under way
	stop      context.CancelFunc
	successes int // in a row
	failures  int // in a row

	reapAfter     time.Duration // zero: a critical service stays
	criticalSince time.Duration // since the registry's epoch; meaningful while critical

	at       time.Duration // its place in the registry's deadlines
	position int           // one more than its index there; zero: it has none

	created, modified uint64
}

// sameAs says whether registering o over c would change what a reader sees.
func (c *check) sameAs(o *check) bool {
	return c.name == o.name && c.notes == o.notes && c.kind == o.kind && c.serviceID == o.serviceID &&
		slices.Equal(c.serviceTags, o.serviceTags) && c.definition.same(&o.definition)
}

// judge turns what a probe found into the check's status, which follows only when
// enough probes in a row agree
// (https://developer.hashicorp.com/consul/docs/services/usage/checks#success-failures-before-passing-warning-critical).
// False: not yet.
func (c *check) judge(found probe.Status) (status string, enough bool) {
	d := &c.definition
	if found != probe.Critical {
		c.successes, c.failures = c.successes+1, 0
		return string(found), c.successes >= d.SuccessBeforePassing
	}
	c.successes, c.failures = 0, c.failures+1
	switch {
	case c.failures >= d.FailuresBeforeCritical:
		return statusCritical, true
	case c.failures >= d.warnAfter():
		return statusWarning, true
	}
	return "", false
}
