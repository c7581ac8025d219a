package workspace

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
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

// TestProblemsNameWhoIsLeftOut: an instance of mesh that somebody has put into
// maintenance gets no requests, and one that has left is no problem.
func TestProblemsNameWhoIsLeftOut(t *testing.T) {
	w := openWorkspace(t, twoServices)
	one := runtime.Instance{Service: "api", Instance: "api-1", Address: "127.0.0.1:1", State: runtime.Healthy}
	w.endpoints.Add(one)
	if got := w.Problems(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	answer := httptest.NewRecorder()
	w.registry.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPut, "http://127.0.0.1/v1/agent/service/maintenance/api-1?enable=true", nil))
	if answer.Code != http.StatusOK {
		t.Fatal(answer.Code, answer.Body)
	}
	if got := w.Problems(); len(got) != 1 || !strings.Contains(got[0], "api-1 is healthy and gets no requests") {
		t.Errorf("%q", got)
	}
	w.endpoints.Remove(one)
	if got := w.Problems(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestProblemsNameWhatHoldsLater: what of a new manifest waits for the next start.
func TestProblemsNameWhatHoldsLater(t *testing.T) {
	w := openWorkspace(t, twoServices)
	next := *w.Manifest()
	next.Name = "renamed"
	next.Gateway.Address = "127.0.0.1:1"
	next.Gateway.Hosts = []string{"shop.test"}
	next.Identity.Issuer = "https://id.example"
	become(w, &next)
	got := w.Problems()
	want := []string{"name has changed: services know the workspace as shop, and tokens are for shop until", "gateway.address has changed",
		"gateway.hosts has changed", "identity.issuer has changed"}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("%q", got)
	}
}

// become makes m the newest manifest that was applied.
func become(w *Workspace, m *manifest.Workspace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.manifest = m
}

// TestARenamedWorkspaceKeepsItsAudience: a service that starts after the name was
// changed takes the tokens that the others have.
func TestARenamedWorkspaceKeepsItsAudience(t *testing.T) {
	w := openWorkspace(t, twoServices)
	next := *w.Manifest()
	next.Name = "renamed"
	become(w, &next)
	api, err := w.Variables("api")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"OIDC_AUDIENCE": "shop", "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop"} {
		if got := api.Values[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := w.OutsideEnv()["OIDC_AUDIENCE"]; got != "shop" {
		t.Errorf("outside: %q", got)
	}
}
