package workspace

import (
	"slices"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/devregistry"
)

// TestProblemsNameStrangers: an instance that somebody else registered gets requests,
// and nobody has to find that out by an answer.
func TestProblemsNameStrangers(t *testing.T) {
	w := openWorkspace(t, twoServices)
	if got := w.Problems(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	w.registry.Register(devregistry.Instance{ID: "thief", Service: "api", Address: "127.0.0.1", Port: 1})
	if got := w.Problems(); len(got) != 1 || !strings.Contains(got[0], "thief gets requests for api at 127.0.0.1:1") {
		t.Errorf("%q", got)
	}
}

// TestProblemsNameWhatHoldsLater: what of a new manifest waits for the next start.
func TestProblemsNameWhatHoldsLater(t *testing.T) {
	w := openWorkspace(t, twoServices)
	next := *w.Manifest()
	next.Gateway.Address = "127.0.0.1:1"
	next.Identity.Issuer = "https://id.example"
	w.mu.Lock()
	w.manifest = &next
	w.mu.Unlock()
	got := w.Problems()
	for _, want := range []string{"gateway.address has changed", "identity.issuer has changed"} {
		if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}
