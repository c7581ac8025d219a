package scaffold_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/scaffold"
)

// covering is a set of services in which every option meets every other, and
// names that are hard for Go among them.
func covering() []scaffold.ServiceOptions {
	return []scaffold.ServiceOptions{
		{Name: "billing", Publishes: []string{"paid", "declined"}},
		everythingOf("order-items", "connect", "sqlite"),
		everythingOf("events", "connect", "postgres"),
		everythingOf("type", "connect", "none"),
		{Name: "store", Calls: []string{"billing"}},
		{Name: "c4", Database: "none", Publishes: []string{"item"}},
		{Name: "c5", Database: "none", Calls: []string{"legacy"}, Consumes: []string{"legacy.done"}},
		{Name: "c6", Database: "postgres", Consumes: []string{"billing.paid"}},
		{Name: "h1", Template: "http"},
		everythingOf("time", "http", "sqlite"),
		everythingOf("h3", "http", "none"),
		everythingOf("h4", "http", "postgres"),
		{Name: "h5", Template: "http", Database: "sqlite", Calls: []string{"legacy"}},
		{Name: "h6", Template: "http", Consumes: []string{"billing.paid"}},
		{Name: "w1", Template: "worker", Consumes: []string{"billing.paid"}},
		everythingOf("w2", "worker", "sqlite"),
		{Name: "w3", Template: "worker", Database: "none", Calls: []string{"billing"}, Consumes: []string{"legacy.done"}},
		{Name: "w4", Template: "worker", Database: "postgres", Publishes: []string{"done"}, Consumes: []string{"billing.paid"}},
		{Name: "w5", Template: "worker", Calls: []string{"billing"}},
		{Name: "w6", Template: "worker", Publishes: []string{"done"}},
	}
}

func everythingOf(name, template, database string) scaffold.ServiceOptions {
	return scaffold.ServiceOptions{
		Name: name, Template: template, Database: database, Calls: []string{"billing", "legacy"},
		Publishes: []string{"made", "gone"}, Consumes: []string{"billing.paid", "billing.declined", "legacy.done"},
	}
}

// TestServicesBuildAsWritten does to services what their teams will do.
func TestServicesBuildAsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("builds, tests and lints twenty services")
	}
	services := covering()
	ws := newWorkspace(t, services...)
	dirs := []string{"contracts"}
	for _, s := range services {
		dirs = append(dirs, "services/"+s.Name)
	}
	checkModules(t, ws.Dir, dirs)
}

// TestTheShopBuildsAsWritten does the same to the example.
func TestTheShopBuildsAsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("builds, tests and lints the example")
	}
	dir := t.TempDir()
	if err := scaffold.Demo(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	checkModules(t, dir, []string{"contracts", "services/profile", "services/cart", "services/billing", "services/notifications", "services/seed"})
	if stale, err := scaffold.Generate(t.Context(), scaffold.Workspace{Dir: dir, Name: "shop"}, true); err != nil || len(stale) > 0 {
		t.Errorf("stale: %v, %v", stale, err)
	}
	args := []string{"build", "-o", filepath.Join(t.TempDir(), "bin") + "/"}
	for _, name := range []string{"profile", "cart", "billing", "notifications", "seed"} {
		args = append(args, fmt.Sprintf("./services/%s/cmd/%s", name, name))
	}
	run(t, dir, append(os.Environ(), "GOFLAGS=-mod=readonly"), "go", args...)
	if _, err := os.Stat(filepath.Join(dir, "go.work.sum")); err == nil {
		t.Error("the build of all together needed go.work.sum: the services' versions differ")
	}
}

// checkModules tests each module in dirs alone and wants it tidy; it vets and
// lints all of them together, which is faster.
func checkModules(t *testing.T, root string, dirs []string) {
	t.Helper()
	var patterns []string
	for _, dir := range dirs {
		alone := append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
		run(t, filepath.Join(root, dir), alone, "go", "test", "./...")
		run(t, filepath.Join(root, dir), append(os.Environ(), "GOWORK=off", "GOFLAGS="), "go", "mod", "tidy", "-diff")
		patterns = append(patterns, "./"+dir+"/...")
	}
	together := append(os.Environ(), "GOFLAGS=-mod=readonly")
	run(t, root, together, "go", append([]string{"vet"}, patterns...)...)
	if out := run(t, root, together, "gofmt", "-l", "."); out != "" {
		t.Errorf("not formatted: %s", out)
	}
	if lint := linter(t); lint != "" {
		run(t, root, together, lint, append([]string{"run", "--no-config", "--allow-parallel-runners"}, patterns...)...)
	}
}

// linter is the program that lints mesh itself. It takes minutes to build: who
// does not require everything gets by without.
func linter(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("golangci-lint"); err == nil {
		return path
	}
	if os.Getenv("MESH_TEST_REQUIRE") != "all" {
		t.Log("not linted: there is no golangci-lint on PATH")
		return ""
	}
	out, err := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../tools/go.mod", "-n", "golangci-lint").Output()
	if err != nil {
		t.Fatalf("golangci-lint: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %s %s: %v\n%s", filepath.Base(dir), name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
