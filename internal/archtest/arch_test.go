// Package archtest holds the layout of the project: which package may import
// which. The map stands in docs/architecture.md.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ebef7166/mesh/"

// arrows are the packages of mesh that a package may import, beside the leaves
// of internal/, which anybody may. A name also stands for the packages below it.
var arrows = map[string][]string{
	"manifest":          {},
	"templates":         {},
	"devregistry":       {},
	"devgateway":        {},
	"devidentity":       {},
	"devbroker":         {},
	"devtelemetry":      {},
	"scaffold":          {"templates", "manifest"},
	"runtime":           {"manifest", "runtime/process", "runtime/logs"},
	"runtime/process":   {},
	"runtime/logs":      {},
	"runtime/build":     {"manifest", "runtime", "runtime/logs", "runtime/process"},
	"runtime/container": {"manifest", "runtime", "runtime/process"},
	"workspace":         {"manifest", "runtime", "devregistry", "devgateway", "devidentity", "devbroker", "devtelemetry"},
	"control":           {"manifest", "runtime", "workspace", "devgateway", "devidentity", "devbroker"},
	"dashboard":         {"control", "manifest", "runtime", "devgateway"},
	"smoke":             {"manifest"},
	"internal":          {},
	"cmd/mesh":          {""},
	"bench":             {},
}

type listed struct {
	ImportPath                         string
	Dir                                string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// allowed finds the entry with the longest name that covers a package.
func allowed(name string) (entry string, to []string) {
	for candidate, targets := range arrows {
		if below(name, candidate) && len(candidate) > len(entry) {
			entry, to = candidate, targets
		}
	}
	return entry, to
}

func below(name, root string) bool {
	return root == "" || name == root || strings.HasPrefix(name, root+"/")
}

func TestArrows(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		entry, targets := allowed(name)
		if entry == "" {
			t.Errorf("%s has no place on the map: add it here and to docs/architecture.md", name)
			continue
		}
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, module)
			if !ours || below(imported, "internal") || below(imported, entry) {
				continue
			}
			if !slices.ContainsFunc(targets, func(to string) bool { return below(imported, to) }) {
				t.Errorf("%s imports %s, an arrow that the map does not have", name, imported)
			}
		}
	}
}

// TestChosenLibraries holds that each library is used only where the map says.
func TestChosenLibraries(t *testing.T) {
	for library, where := range map[string]string{
		"github.com/spf13/cobra":       "cmd/mesh",
		"github.com/spf13/viper":       "cmd/mesh",
		"charm.land/bubbletea/v2":      "dashboard/tui",
		"github.com/moby/moby/client":  "runtime/container",
		"github.com/fsnotify/fsnotify": "internal/watch",
		"text/template":                "scaffold",
	} {
		for _, p := range packages(t) {
			name := strings.TrimPrefix(p.ImportPath, module)
			if slices.Contains(p.Imports, library) && !below(name, where) {
				t.Errorf("%s imports %s, which is for %s", name, library, where)
			}
		}
	}
}

// TestStartingProcesses holds that in the daemon only the process driver starts
// any: its reaper takes the exit of every child that it does not know.
func TestStartingProcesses(t *testing.T) {
	calls := regexp.MustCompile(`\bexec\.Command|\bos\.StartProcess`)
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if slices.ContainsFunc([]string{"runtime/process", "cmd/mesh", "bench", "internal"}, func(may string) bool { return below(name, may) }) {
			continue
		}
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if calls.Match(text) {
				t.Errorf("%s/%s starts a process by itself", name, file)
			}
		}
	}
}

// TestSecurityPage holds that each test exists that docs/security.md names.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, p := range packages(t) {
		for _, file := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
				tests[string(found[1])] = true
			}
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(page, -1)
	if len(named) == 0 {
		t.Error("the page names no test")
	}
	for _, n := range named {
		if !tests[string(n[1])] {
			t.Errorf("there is no %s", n[1])
		}
	}
}
