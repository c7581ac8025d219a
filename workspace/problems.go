package workspace

import "github.com/ebef7166/mesh/manifest"

// fixed says what of a new manifest holds only from the next start on.
func (w *Workspace) fixed(now *manifest.Workspace) (later []string) {
	was := w.began
	gateway := " has changed: the gateway listens on " + w.urls["gateway"] + " as before until mesh down and mesh up"
	if was.Gateway.Address != now.Gateway.Address {
		later = append(later, "gateway.address"+gateway)
	}
	before, had := was.KeyPair()
	if after, has := now.KeyPair(); had != has || before != after {
		later = append(later, "gateway.tls"+gateway)
	}
	if was.Identity.Issuer != now.Identity.Issuer || was.TokenAudience() != now.TokenAudience() || was.Identity.RolesClaim != now.Identity.RolesClaim {
		later = append(later, "identity.issuer has changed: tokens of "+w.urls["identity"]+" are taken until mesh down and mesh up")
	}
	return later
}
