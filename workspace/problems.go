package workspace

import (
	"slices"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// fixed says what of a new manifest holds only from the next start on.
func (w *Workspace) fixed(now *manifest.Workspace) (later []string) {
	for _, o := range w.later(now) {
		later = append(later, o.Part+" has changed: "+o.Cause)
	}
	return later
}

// later is what of a new manifest holds only from the next start on, each with what
// holds until then.
func (w *Workspace) later(now *manifest.Workspace) (plan runtime.Plan) {
	was := w.began
	before, had := was.KeyPair()
	after, has := now.KeyPair()
	listens := "the gateway listens on " + w.urls["gateway"] + " as before"
	tokens := "tokens of " + w.urls["identity"] + " are taken"
	for _, key := range []struct {
		name    string
		changed bool
		still   string
	}{
		{"name", was.Name != now.Name, "services know the workspace as " + was.Name + ", and tokens are for " + was.TokenAudience()},
		{"gateway.address", was.Gateway.Address != now.Gateway.Address, listens},
		{"gateway.hosts", !slices.Equal(was.Gateway.Hosts, now.Gateway.Hosts), "the gateway answers for the hosts of before"},
		{"gateway.tls", had != has || before != after, listens},
		{"identity.issuer", was.Identity.Issuer != now.Identity.Issuer, tokens},
		{"identity.audience", was.Identity.Audience != now.Identity.Audience, "tokens are for " + was.TokenAudience()},
		{"identity.roles_claim", was.Identity.RolesClaim != now.Identity.RolesClaim, "roles are read as before"},
	} {
		if key.changed {
			plan = append(plan, runtime.Operation{Action: runtime.HoldsLater, Part: key.name, Cause: key.still + " until mesh down and mesh up"})
		}
	}
	return plan
}

// told is the manifest as services are told of it: what holds only from the next start
// on is as it began, or those that start now would take no token of the others.
func (w *Workspace) told() *manifest.Workspace {
	m := *w.Manifest()
	m.Name, m.Identity.Audience, m.Gateway.TLS = w.began.Name, w.began.Identity.Audience, w.began.Gateway.TLS
	return &m
}
