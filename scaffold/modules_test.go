package scaffold

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

var update = flag.Bool("update", false, "write goldens and embedded data instead of comparing with them")

// TestModules checks that the set of every combination of options is there,
// and with -update asks `go mod tidy` for each of them.
func TestModules(t *testing.T) {
	if *update {
		updateModules(t)
		return
	}
	data, err := loadModules()
	if err != nil {
		t.Fatal(err)
	}
	for name, imports := range allImports(t) {
		if _, ok := findSet(data, imports); !ok {
			t.Errorf("no modules for %s, which imports %v: run go test -run TestModules -update ./scaffold", name, imports)
		}
	}
}

// allImports returns what the services of every combination of options import.
func allImports(t *testing.T) map[string][]string {
	t.Helper()
	ws := peers(t)
	out := map[string][]string{"contracts": contractImports}
	for _, opts := range combinations() {
		s, err := newService(ws, opts)
		if err != nil {
			t.Fatal(describe(opts), err)
		}
		trees, err := serviceTrees(opts, s)
		if err != nil {
			t.Fatal(err)
		}
		files, err := renderAll(trees, s)
		if err != nil {
			t.Fatal(describe(opts), err)
		}
		if out[describe(opts)], err = importsOf(files, s.Module, s.Contracts); err != nil {
			t.Fatal(err)
		}
	}
	shopFiles, err := shopFiles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"profile", "cart", "billing", "notifications", "seed"} {
		files := slices.DeleteFunc(slices.Clone(shopFiles), func(f File) bool { return !strings.HasPrefix(f.Path, "services/"+name+"/") })
		if out["shop/"+name], err = importsOf(files, shop.Module+"/services/"+name, shop.Module+"/contracts"); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// peers is a workspace with a contract that others can call and listen to.
func peers(t *testing.T) Workspace {
	t.Helper()
	ws := Workspace{Dir: t.TempDir(), Name: "shop"}
	contract := "service BillingService {}\nmessage Paid {}\nmessage Declined {}\n"
	path := filepath.Join(ws.Dir, "contracts", "billing", "v1", "billing.proto")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(contract), 0o644); err != nil {
		t.Fatal(err)
	}
	return ws
}

// combinations are all the options that change what a service imports.
func combinations() []ServiceOptions {
	var out []ServiceOptions
	for _, t := range Templates() {
		for _, db := range []string{"sqlite", "postgres", "none"} {
			for _, calls := range [][]string{nil, {"billing"}, {"legacy"}, {"billing", "legacy"}} {
				for _, publishes := range [][]string{nil, {"cart.checked_out"}} {
					for _, consumes := range [][]string{nil, {"billing.paid"}, {"legacy.done"}, {"billing.paid", "legacy.done"}} {
						if t.Name == "worker" && db == "none" && publishes != nil {
							continue
						}
						out = append(out, ServiceOptions{Name: "cart", Template: t.Name, Database: db, Calls: calls, Publishes: publishes, Consumes: consumes})
					}
				}
			}
		}
	}
	return out
}

func describe(o ServiceOptions) string {
	return strings.Join(slices.DeleteFunc([]string{o.Template, o.Database, strings.Join(o.Calls, ","), strings.Join(o.Publishes, ","), strings.Join(o.Consumes, ",")}, func(s string) bool { return s == "" }), " ")
}

func updateModules(t *testing.T) {
	distinct := map[string][]string{}
	var union []string
	for _, imports := range allImports(t) {
		distinct[strings.Join(imports, " ")] = imports
		union = append(union, imports...)
	}
	slices.Sort(union)
	union = slices.DeleteFunc(slices.Compact(union), func(s string) bool { return inside(s, contractsImport) })
	all := tidy(t, union, startMod(t, nil))
	var data moduleData
	sums := map[string]int{}
	for _, key := range slices.Sorted(maps.Keys(distinct)) {
		set, lines := tidySet(t, distinct[key], all.mod)
		for _, line := range lines {
			if _, ok := sums[line]; !ok {
				sums[line] = len(data.Sums)
				data.Sums = append(data.Sums, line)
			}
			set.Sums = append(set.Sums, sums[line])
		}
		data.Sets = append(data.Sets, set)
	}
	t.Logf("%d sets, %d sums", len(data.Sets), len(data.Sums))
	writeModules(t, data)
}

type tidied struct {
	mod *modfile.File
	sum []string
}

// startMod is a go.mod with the wanted versions and, when given, everything
// that all services together need: so every service gets the same versions.
func startMod(t *testing.T, all *modfile.File) []byte {
	t.Helper()
	versions, err := loadVersions()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "module example.com/x\n\ngo %s\n\n", versions.Go)
	if all == nil {
		for module, version := range versions.Modules {
			fmt.Fprintf(&b, "require %s %s\n", module, version)
		}
	} else {
		for _, r := range all.Require {
			fmt.Fprintf(&b, "require %s %s // indirect\n", r.Mod.Path, r.Mod.Version)
		}
	}
	return b.Bytes()
}

func tidySet(t *testing.T, imports []string, all *modfile.File) (moduleSet, []string) {
	t.Helper()
	set := moduleSet{Imports: imports}
	got := tidy(t, imports, startMod(t, all))
	for _, r := range got.mod.Require {
		switch {
		case r.Mod.Path == "example.com/contracts":
		case r.Indirect:
			set.Indirect = append(set.Indirect, r.Mod.Path+" "+r.Mod.Version)
		default:
			set.Direct = append(set.Direct, r.Mod.Path+" "+r.Mod.Version)
		}
	}
	return set, got.sum
}

// tidy runs go mod tidy over a module that imports imports.
func tidy(t *testing.T, imports []string, mod []byte) tidied {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text := string(mod)
	var lines strings.Builder
	for _, name := range imports {
		if inside(name, contractsImport) {
			if name = "example.com/" + name; !strings.Contains(text, "replace") {
				writeContracts(write, mod)
				text += "require example.com/contracts v0.0.0\nreplace example.com/contracts => ./contracts\n"
				tidyIn(t, filepath.Join(dir, "contracts"))
			}
		}
		fmt.Fprintf(&lines, "import _ %q\n", name)
	}
	write("go.mod", text)
	write("x.go", "package x\n"+lines.String())
	tidyIn(t, dir)
	return readTidied(t, dir)
}

func writeContracts(write func(name, text string), mod []byte) {
	write("contracts/go.mod", strings.Replace(string(mod), "example.com/x", "example.com/contracts", 1))
	var messages strings.Builder
	for _, name := range contractImports[1:] {
		fmt.Fprintf(&messages, "import _ %q\n", name)
	}
	write("contracts/x.go", "package contracts\n"+messages.String())
	write("contracts/connect/x.go", fmt.Sprintf("package connect\nimport _ %q\nimport _ %q\n", contractImports[0], "example.com/contracts"))
}

func tidyIn(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func readTidied(t *testing.T, dir string) tidied {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse("go.mod", mod, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return tidied{f, strings.FieldsFunc(string(sum), func(r rune) bool { return r == '\n' })}
}

func writeModules(t *testing.T, data moduleData) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("{\n\"sets\": [\n")
	for i, set := range data.Sets {
		line, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		if i < len(data.Sets)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	sums, err := json.MarshalIndent(data.Sums, "", "")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "],\n\"sums\": %s\n}\n", sums)
	if err := os.WriteFile("../templates/modules.json", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
