package workspace

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// fixed says what of a new manifest holds only from the next start on.
func (w *Workspace) fixed(now *manifest.Workspace) (later []string) {
	was := w.began
	for key, changed := range map[string]bool{"address": was.Gateway.Address != now.Gateway.Address, "tls": !reflect.DeepEqual(was.Gateway.TLS, now.Gateway.TLS)} {
		if changed {
			later = append(later, "gateway."+key+" has changed: the gateway listens on "+w.urls["gateway"]+" as before until mesh down and mesh up")
		}
	}
	if was.Identity.Issuer != now.Identity.Issuer || was.TokenAudience() != now.TokenAudience() || was.Identity.RolesClaim != now.Identity.RolesClaim {
		later = append(later, "identity.issuer has changed: tokens of "+w.urls["identity"]+" are taken until mesh down and mesh up")
	}
	slices.Sort(later)
	return later
}

// strangers says where the registry and mesh differ in who serves: instances that
// others registered get requests too, and those of mesh whose checks somebody has
// made critical get none.
func (w *Workspace) strangers() (differ []string) {
	now := w.supervisor.Snapshot()
	for _, s := range w.running() {
		ours, serving := map[string]bool{}, map[string]bool{}
		for _, i := range now.Of(s.Name) {
			ours[i.Instance] = true
		}
		for _, i := range w.registry.Passing(s.Name) {
			if serving[i.ID] = true; !ours[i.ID] {
				differ = append(differ, fmt.Sprintf("%s gets requests for %s at %s:%d: it was registered by somebody else", i.ID, s.Name, i.Address, i.Port))
			}
		}
		for _, i := range now.Of(s.Name) {
			if i.State == runtime.Healthy && i.Address != "" && !serving[i.Instance] {
				differ = append(differ, i.Instance+" is healthy and gets no requests: a check of it in the registry says otherwise, or it is in maintenance there")
			}
		}
	}
	return differ
}
