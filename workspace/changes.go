package workspace

import (
	"reflect"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// changes are what a new manifest and selection change beside services: in the parts
// that mesh has itself. What comes and goes with a service is not told again.
func (w *Workspace) changes(now *manifest.Workspace, selected []*manifest.Service) (plan runtime.Plan) {
	was := w.Manifest()
	for _, part := range []struct {
		name   string
		causes []string
	}{
		{"gateway", append(routeChanges(was, now, w.running(), selected), gatewayChanges(was.Gateway, now.Gateway)...)},
		{"identity", w.identityChanges(was.Identity, now.Identity)},
		{"broker", brokerChanges(was, now, selected)},
	} {
		for _, cause := range part.causes {
			plan = append(plan, runtime.Operation{Action: runtime.UpdatePart, Part: part.name, Cause: cause})
		}
	}
	return plan
}

// routeChanges names whose routes are others than before.
func routeChanges(was, now *manifest.Workspace, running, selected []*manifest.Service) (causes []string) {
	if !sameRoutes(was.Gateway.Routes, now.Gateway.Routes) {
		causes = append(causes, "gateway.routes has changed")
	}
	var owners []string
	for _, s := range selected {
		i := slices.IndexFunc(running, func(r *manifest.Service) bool { return r.Name == s.Name })
		if i >= 0 && !sameRoutes(running[i].Routes, s.Routes) {
			owners = append(owners, s.Name)
		}
	}
	if len(owners) > 0 {
		causes = append(causes, "the routes of "+strings.Join(owners, ", ")+" have changed")
	}
	return causes
}

// sameRoutes does not look at where they are written.
func sameRoutes(a, b []manifest.Route) bool {
	return slices.EqualFunc(a, b, func(x, y manifest.Route) bool {
		x.Position, y.Position = "", ""
		return reflect.DeepEqual(route(x, ""), route(y, ""))
	})
}

// gatewayChanges are about all routes and links.
func gatewayChanges(was, now manifest.Gateway) []string {
	return changed("gateway.", []key{
		{"cors", cors(was.CORS), cors(now.CORS)},
		{"retries", retries(was.Retries), retries(now.Retries)},
		{"outliers", outliers(was.Outliers), outliers(now.Outliers)},
	})
}

// identityChanges are none where somebody else knows the users.
func (w *Workspace) identityChanges(was, now manifest.Identity) []string {
	if w.identity == nil {
		return nil
	}
	return changed("identity.", []key{{"users", was.Users, now.Users}, {"clients", was.Clients, now.Clients}})
}

// brokerChanges name the services that do not run and whose events are others than
// before: they have a stream and a login all the same.
func brokerChanges(was, now *manifest.Workspace, selected []*manifest.Service) (causes []string) {
	var owners []string
	for _, s := range now.Services {
		before, had := was.Service(s.Name)
		runs := slices.ContainsFunc(selected, func(r *manifest.Service) bool { return r.Name == s.Name })
		if had && !runs && !sameEvents(before, s) {
			owners = append(owners, s.Name)
		}
	}
	if len(owners) > 0 {
		causes = append(causes, "the events of "+strings.Join(owners, ", ")+" have changed")
	}
	return causes
}

func sameEvents(a, b *manifest.Service) bool {
	return slices.Equal(a.Publishes, b.Publishes) && slices.Equal(a.Consumes, b.Consumes)
}

// key of a manifest, before and after.
type key struct {
	name     string
	was, now any
}

func changed(parent string, keys []key) (causes []string) {
	for _, k := range keys {
		if !reflect.DeepEqual(k.was, k.now) {
			causes = append(causes, parent+k.name+" has changed")
		}
	}
	return causes
}
