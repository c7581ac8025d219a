package scaffold_test

import (
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/scaffold"
)

var hostileNames = []string{
	"", "../../x", ".git", "CON", "con", "nul", "com1", "-rf", "a\nb", "a b", strings.Repeat("a", 300), "{{.Env}}", "a/b",
	`a\b`, "Cart", "ä", "a\x00", "1a", "internal", "vendor", "testdata", "contracts", "a.b", "a_b", "$(x)", "mesh",
}

func TestHostileNamesAreRefused(t *testing.T) {
	dir := t.TempDir()
	ws := scaffold.Workspace{Dir: dir, Name: "shop"}
	for _, name := range hostileNames {
		for what, opts := range map[string]scaffold.ServiceOptions{
			"name":      {Name: name},
			"calls":     {Name: "cart", Calls: []string{name + " "}},
			"consumes":  {Name: "cart", Consumes: []string{name + ".done"}},
			"publishes": {Name: "cart", Publishes: []string{"cart." + name}},
		} {
			if what == "calls" && strings.TrimSpace(name) == "" || what == "publishes" && validEvent.MatchString(name) || what == "consumes" && validEvent.MatchString(strings.ReplaceAll(name, "-", "_")) {
				continue
			}
			if files, err := scaffold.NewService(t.Context(), ws, opts); err == nil || len(files) > 0 {
				t.Errorf("%s %q: accepted", what, name)
			}
		}
		if _, err := scaffold.NewWorkspace(scaffold.InitOptions{Dir: dir, Name: name}); err == nil && name != "" {
			t.Errorf("workspace %q: accepted", name)
		}
	}
	for _, module := range []string{"../x", "a b", "https://x", "x\n)", "/x", "x//y", "Upper.com/x"} {
		if _, err := scaffold.NewService(t.Context(), scaffold.Workspace{Dir: dir, Name: "shop", Module: module}, scaffold.ServiceOptions{Name: "cart"}); err == nil {
			t.Errorf("module %q: accepted", module)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("something was written: %v, %v", entries, err)
	}
}

var (
	validName  = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	validEvent = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}(\.[a-z][a-z0-9_]{0,39})*$`)
)

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	_, err := scaffold.NewService(t.Context(), scaffold.Workspace{Dir: t.TempDir(), Name: "shop"}, scaffold.ServiceOptions{
		Name: "cart", Database: "oracle", Calls: []string{"cart", "B"}, Publishes: []string{"billing.paid"}, Consumes: []string{"paid", "cart.x"},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"oracle", "cannot call itself", `"B"`, "billing.paid is not an event of cart", `"paid"`, "own event"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}

// Names that are Go's keywords, packages of the templates or their variables
// make services that compile: TestCombinations builds some of them.
func FuzzNames(f *testing.F) {
	for _, name := range append(hostileNames, "type", "events", "order-items", "a", "a-", "x--y", "rpc") {
		f.Add(name, "done")
	}
	ws := scaffold.Workspace{Dir: f.TempDir(), Name: "shop"}
	f.Fuzz(func(t *testing.T, name, event string) {
		files, err := scaffold.NewService(t.Context(), ws, scaffold.ServiceOptions{Name: name, Publishes: []string{event}})
		if err != nil {
			if len(files) > 0 {
				t.Errorf("%q: files beside an error", name)
			}
			return
		}
		if !validName.MatchString(name) {
			t.Errorf("%q: accepted", name)
		}
		for _, file := range files {
			if strings.Contains(file.Path, "..") || strings.HasPrefix(file.Path, "/") {
				t.Errorf("%q: writes %q", name, file.Path)
			}
			if base, ok := strings.CutSuffix(file.Path, ".go"); ok && token.IsKeyword(base) {
				t.Errorf("%q: writes %q", name, file.Path)
			}
		}
	})
}
