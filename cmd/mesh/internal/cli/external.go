package cli

import (
	"strings"

	"github.com/ebef7166/mesh/manifest"
)

// parseExternal reads --external SERVICE=ADDR.
func parseExternal(m *manifest.Workspace, pairs []string) (map[string]string, error) {
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
		addresses[name] = at
	}
	return addresses, nil
}
