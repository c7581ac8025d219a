package cli

import (
	"slices"
	"strings"

	"github.com/ebef7166/mesh/manifest"
)

// parseExternal reads --external SERVICE=ADDR; except are the services that are
// left out altogether.
func parseExternal(m *manifest.Workspace, pairs, except []string) (map[string]string, error) {
	addresses := map[string]string{}
	for _, pair := range pairs {
		name, address, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, usageError("--external %s: want SERVICE=ADDR, such as cart=127.0.0.1:9000", pair)
		}
		at, err := manifest.ExternalURL(address)
		if err != nil {
			return nil, usageError("--external %s: %w", pair, err)
		}
		if s, known := m.Service(name); known && !s.Listens() {
			return nil, usageError("--external %s: %s is a %s, without a port; --except %s leaves it to you", pair, name, s.Kind, name)
		}
		if before := addresses[name]; before != "" {
			return nil, usageError("--external %s: %s is at %s already: give its address once", pair, name, before)
		}
		if slices.Contains(except, name) {
			return nil, usageError("--external %s: --except leaves %s out: give one of the two", pair, name)
		}
		addresses[name] = at
	}
	return addresses, nil
}
