package workspace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// withParts says something of each part that is not a service's.
const withParts = `version: 1
name: shop
gateway: {address: "127.0.0.1:0", cors: {origins: ["http://localhost:5173"]}}
identity: {users: [{name: alice, roles: [customer]}]}
services:
  api: {dir: ., run: ["true"], routes: [{prefix: /api/}]}
  late: {dir: ., run: ["true"], kind: worker, profiles: [late], publishes: [late.done]}
`

// TestPlanTellsOfMoreThanServices: each change to mesh's own parts, with its cause, and
// what holds only from the next start on.
func TestPlanTellsOfMoreThanServices(t *testing.T) {
	for change, want := range map[string]string{
		"|":                          "nothing to do",
		"name: shop|\nname: shop":    "nothing to do",
		"prefix: /api/|prefix: /v1/": "update   gateway (the routes of api have changed)",
		"cors:|auth: none, cors:":    "update   gateway (the routes of api have changed)",
		"5173|5174":                  "update   gateway (the routes of api have changed)\nupdate   gateway (gateway.cors has changed)",
		"prefix: /api/|prefix: /api/, rewrite: /":                        "update   gateway (the routes of api have changed)",
		"prefix: /api/|prefix: /api/, cors: {expose: [X-Total]}":         "update   gateway (the routes of api have changed)",
		"cors:|retries: {attempts: 0}, cors:":                            "update   gateway (the routes of api have changed)\nupdate   gateway (gateway.retries has changed)",
		"cors:|outliers: {failures: 9}, cors:":                           "update   gateway (gateway.outliers has changed)",
		"cors:|routes: [{path: /x, url: \"http://127.0.0.1:9\"}], cors:": "update   gateway (gateway.routes has changed)",
		"[customer]|[admin]":                                             "update   identity (identity.users has changed)",
		"identity: {|identity: {clients: [{id: cli}], ":                  "update   identity (identity.clients has changed)",
		"late.done|late.over":                                            "update   broker (the events of late have changed)",
		"127.0.0.1:0|127.0.0.1:1":                                        "later    gateway.address (the gateway listens on http://127.0.0.1:PORT as before until mesh down and mesh up)",
	} {
		before, after, _ := strings.Cut(change, "|")
		w, next := openAndChange(t, before, after)
		plan, err := w.Plan(next, manifest.Selection{})
		if err != nil {
			t.Fatal(err)
		}
		want = strings.ReplaceAll(want, "http://127.0.0.1:PORT", w.urls["gateway"])
		if plan.String() != want {
			t.Errorf("%s: %s, want %s", change, plan, want)
		}
	}
}

// TestApplyReturnsWhatItChanged: and not what it has left as it is.
func TestApplyReturnsWhatItChanged(t *testing.T) {
	w, next := openAndChange(t, `gateway: {address: "127.0.0.1:0", cors:`, `gateway: {address: "127.0.0.1:1", auth: none, cors:`)
	plan, err := w.Apply(t.Context(), next, manifest.Selection{})
	if err != nil || len(plan) != 1 || plan[0].Action != runtime.UpdatePart || plan[0].Part != "gateway" {
		t.Errorf("%s %v", plan, err)
	}
}

// openAndChange opens withParts and reads it once more, with before replaced by after.
func openAndChange(t *testing.T, before, after string) (*Workspace, *manifest.Workspace) {
	t.Helper()
	w := openWorkspace(t, withParts)
	write(t, w.Manifest().Dir, strings.Replace(withParts, before, after, 1))
	next, err := w.Load()
	if err != nil {
		t.Fatal(err)
	}
	return w, next
}

func write(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, manifest.WorkspaceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
