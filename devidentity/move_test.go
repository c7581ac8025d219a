package devidentity

import (
	"net/http"
	"strings"
	"testing"
)

// TestMove gives a provider that runs another address.
func TestMove(t *testing.T) {
	w := newWorld(t)
	before, err := w.Issue(t.Context(), TokenRequest{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verifier().Verify(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	old := w.issuer()
	for _, bad := range []string{"", "nowhere", old + "/below"} {
		if err := w.Move(bad); err == nil || w.issuer() != old {
			t.Errorf("moved to %q: %v", bad, err)
		}
	}
	moved := strings.Replace(old, "127.0.0.1", "172.30.0.1", 1)
	if err := w.Move(moved); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verifier().Verify(t.Context(), before); err == nil {
		t.Error("a token of the old issuer is good")
	}
	after, err := w.Issue(t.Context(), TokenRequest{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Verifier().Verify(t.Context(), after); err != nil {
		t.Error(err)
	}
	resp, err := w.browser.Get(old + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("at the old address: %s", resp.Status)
	}
}
