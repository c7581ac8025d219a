//go:build unix

package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/tools/txtar"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
	"github.com/ebef7166/mesh/runtime/process/processtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const three = `
-- go.work --
go 1.26
use (
	./lib
	./services/a
	./services/b
	./services/c
)
-- lib/go.mod --
module example.test/lib
go 1.26
-- lib/lib.go --
package lib
const Text = "lib"
-- services/a/go.mod --
module example.test/a
go 1.26
require example.test/lib v0.0.0
replace example.test/lib => ../../lib
-- services/a/cmd/server/main.go --
package main
import "example.test/lib"
func main() { println("a", lib.Text) }
-- services/b/go.mod --
module example.test/b
go 1.26
-- services/b/cmd/server/main.go --
package main
func main() { println("b") }
-- services/c/go.mod --
module example.test/c
go 1.26
-- services/c/main.go --
package main
func main() { println("c") }
-- outside/go.mod --
module example.test/outside
go 1.26
-- outside/main.go --
package main
func main() { println("outside") }
`

// rig is a builder over a workspace of its own.
type rig struct {
	*Builder
	t        *testing.T
	services []*manifest.Service
}

type plainEnv struct{}

func (plainEnv) Address(*manifest.Service, string) (string, error) { return "", nil }
func (plainEnv) Release(string)                                    {}
func (plainEnv) Environ(*manifest.Service, string, string) ([]string, error) {
	return append(os.Environ(), "GREETING=hello"), nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t}
	for _, f := range txtar.Parse([]byte(three)).Files {
		r.write(filepath.Join(dir, f.Name), string(f.Data))
	}
	store, err := logs.Open(filepath.Join(dir, ".mesh", "logs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	r.Builder = &Builder{Dir: dir, Bin: filepath.Join(dir, ".mesh", "bin"), Logs: store, Environment: plainEnv{},
		Processes: processtest.Driver(t), Progress: func(string, string) {}}
	for name, pkg := range map[string]string{"a": "./cmd/server", "b": "./cmd/server", "c": "."} {
		r.services = append(r.services, &manifest.Service{Name: name, Dir: filepath.Join(dir, "services", name), Go: pkg})
	}
	return r
}

func (r *rig) write(path, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// build returns what each program prints, or its error.
func (r *rig) build(ctx context.Context, services ...*manifest.Service) (said map[string]string, versions map[string]string) {
	r.t.Helper()
	said, versions = map[string]string{}, map[string]string{}
	var mu sync.Mutex
	r.Build(ctx, services, func(name string, a runtime.Artifact, err error) {
		mu.Lock()
		defer mu.Unlock()
		if _, twice := said[name]; twice {
			r.t.Errorf("%s is reported twice", name)
		}
		if err != nil {
			said[name] = "error: " + err.Error()
			return
		}
		versions[name] = a.Version
		out := &tail{}
		exit, err := r.Processes.Exec(ctx, process.Spec{Argv: a.Argv, Env: []string{"X=y"}, Marker: "X=y", Stdout: out, Stderr: out})
		if err != nil || exit.Code != 0 {
			r.t.Errorf("%s: %v %v", name, exit, err)
		}
		said[name] = out.String()
	})
	return said, versions
}

func (r *rig) want(said map[string]string, want map[string]string) {
	r.t.Helper()
	for name, text := range want {
		if got, ok := said[name]; !ok || !strings.Contains(got, text) {
			r.t.Errorf("%s said %q, want %q", name, got, text)
		}
	}
	for name := range said {
		if _, ok := want[name]; !ok {
			r.t.Errorf("%s is reported without being asked for", name)
		}
	}
}

func TestOneBuildForAll(t *testing.T) {
	r := newRig(t)
	outside := &manifest.Service{Name: "outside", Dir: filepath.Join(r.Dir, "outside"), Go: "."}
	said, first := r.build(t.Context(), append(r.services, outside)...)
	// a and b have programs of the same name.
	r.want(said, map[string]string{"a": "a lib", "b": "b", "c": "c", "outside": "outside"})

	_, again := r.build(t.Context(), r.services...)
	for name, version := range again {
		if version != first[name] || version == "" {
			t.Errorf("%s: the same code has versions %q and %q", name, first[name], version)
		}
	}
	r.write(filepath.Join(r.Dir, "lib", "lib.go"), "package lib\nconst Text = \"new\"\n")
	said, changed := r.build(t.Context(), r.services...)
	r.want(said, map[string]string{"a": "a new", "b": "b", "c": "c"})
	if changed["a"] == first["a"] || changed["b"] != first["b"] {
		t.Errorf("versions %v, then %v", first, changed)
	}
}

func TestOneCulpritKeepsNobodyFromBeingBuilt(t *testing.T) {
	for name, tt := range map[string]struct{ file, text, want string }{
		"type error":     {"services/b/cmd/server/main.go", "package main\nfunc main() { undefined() }\n", "services/b/cmd/server/main.go:2:15: undefined: undefined"},
		"syntax error":   {"services/b/cmd/server/main.go", "package main\nfunc main() {\n", "services/b/cmd/server/main.go:"},
		"missing import": {"services/b/cmd/server/main.go", "package main\nimport _ \"example.test/nowhere\"\nfunc main() {}\n", "example.test/nowhere"},
		"broken go.mod":  {"services/b/go.mod", "module example.test/b\nnonsense\n", "services/b/go.mod:2"},
		"no main":        {"services/b/cmd/server/main.go", "package server\n", "main"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.write(filepath.Join(r.Dir, tt.file), tt.text)
			said, _ := r.build(t.Context(), r.services...)
			r.want(said, map[string]string{"a": "a lib", "b": "error: ", "c": "c"})
			if !strings.Contains(said["b"], tt.want) {
				t.Errorf("b: %s", said["b"])
			}
			if logged := r.Logs.Recent(logs.Query{Services: []string{"b"}}); len(logged) == 0 || logged[0].Stream != logs.Build {
				t.Errorf("logged: %v", logged)
			}
		})
	}
}

func TestSharedPackageThatDoesNotCompile(t *testing.T) {
	r := newRig(t)
	r.write(filepath.Join(r.Dir, "lib", "lib.go"), "package lib\nconst Text = undefined\n")
	said, _ := r.build(t.Context(), r.services...)
	r.want(said, map[string]string{"a": "error: ", "b": "b", "c": "c"})
	if !strings.Contains(said["a"], "lib/lib.go:2:14: undefined: undefined") {
		t.Errorf("a: %s", said["a"])
	}
}

// TestWhatHasNotChangedIsNotBuilt looks at whether the programs are new files.
func TestWhatHasNotChangedIsNotBuilt(t *testing.T) {
	r := newRig(t)
	outside := &manifest.Service{Name: "outside", Dir: filepath.Join(r.Dir, "outside"), Go: "."}
	services := append(r.services, outside)
	programs := func() map[string]os.FileInfo {
		_, versions := r.build(t.Context(), services...)
		files := map[string]os.FileInfo{}
		for name, version := range versions {
			info, err := os.Stat(filepath.Join(r.Bin, name, version))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = info
		}
		return files
	}
	last := programs()
	built := func(what string, want bool, names ...string) {
		t.Helper()
		now := programs()
		for _, name := range names {
			if got := !os.SameFile(now[name], last[name]); got != want {
				t.Errorf("%s: %s was built: %v", what, name, got)
			}
		}
		last = now
	}
	built("nothing changed", false, "a", "b", "c", "outside")
	r.write(filepath.Join(r.Dir, "lib", "lib.go"), "package lib\nconst Text = \"new\"\n")
	built("a library", true, "a", "b", "c")
	built("nothing again", false, "a", "b", "c", "outside")
	r.write(filepath.Join(r.Dir, "services", "a", "extra.txt"), "embedded, perhaps")
	built("a file that is not Go", true, "a")
	other := filepath.Join(t.TempDir(), "other") // a folder that no go.work names
	r.write(filepath.Join(other, "go.mod"), "module example.test/other\ngo 1.26\n")
	r.write(filepath.Join(other, "other.go"), "package other\nconst Text = \"first\"\n")
	r.write(filepath.Join(r.Dir, "outside", "go.mod"), "module example.test/outside\ngo 1.26\nrequire example.test/other v0.0.0\nreplace example.test/other => "+other+"\n")
	r.write(filepath.Join(r.Dir, "outside", "main.go"), "package main\nimport \"example.test/other\"\nfunc main() { println(other.Text) }\n")
	built("a requirement", true, "outside")
	r.write(filepath.Join(other, "other.go"), "package other\nconst Text = \"second\"\n")
	built("a folder in place of a module", true, "outside")
	t.Setenv("GOFLAGS", "-trimpath")
	built("the environment", true, "a", "b", "c", "outside")
	if err := os.Remove(filepath.Join(r.Bin, "c", last["c"].Name())); err != nil {
		t.Fatal(err)
	}
	built("a program is gone", false, "a", "b", "outside")
	r.write(filepath.Join(r.Dir, "services", "b", "cmd", "server", "main.go"), "package main\nfunc main() { undefined() }\n")
	for range 2 { // a failure is not taken for what was built before
		if said, _ := r.build(t.Context(), r.services...); !strings.Contains(said["b"], "undefined") {
			t.Errorf("b: %s", said["b"])
		}
	}
}

// TestHiddenFilesAreInputs: a program may embed them.
func TestHiddenFilesAreInputs(t *testing.T) {
	dir := t.TempDir()
	sum := func() string {
		h := sha256.New()
		if err := hashTree(h, dir); err != nil {
			t.Fatal(err)
		}
		return string(h.Sum(nil))
	}
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put("static/.well-known/security.txt", "a")
	put(".git/HEAD", "a")
	before := sum()
	put(".git/HEAD", "other")
	if sum() != before {
		t.Error("what git keeps counts")
	}
	put("static/.well-known/security.txt", "other")
	if sum() == before {
		t.Error("a hidden file does not count")
	}
}

func TestCommands(t *testing.T) {
	r := newRig(t)
	dir := filepath.Join(r.Dir, "any")
	r.write(filepath.Join(dir, "input"), "1")
	s := &manifest.Service{Name: "any", Dir: dir, Build: manifest.Command{Shell: "echo ${GREETING} && cat input > output"}, Run: manifest.Command{Args: []string{"cat", filepath.Join(dir, "output")}}}
	said, first := r.build(t.Context(), s)
	r.want(said, map[string]string{"any": "1"})
	if logged := r.Logs.Recent(logs.Query{Services: []string{"any"}}); len(logged) != 1 || logged[0].Line != "hello" {
		t.Errorf("logged: %v", logged)
	}
	_, again := r.build(t.Context(), s)
	r.write(filepath.Join(dir, "input"), "2")
	_, changed := r.build(t.Context(), s)
	if first["any"] != again["any"] || again["any"] == changed["any"] {
		t.Errorf("versions %v %v %v", first, again, changed)
	}
	s.Build = manifest.Command{Shell: "echo what is wrong >&2; exit 4"}
	said, _ = r.build(t.Context(), s)
	r.want(said, map[string]string{"any": "error: "})
	if !strings.Contains(said["any"], "exit code 4\nwhat is wrong") {
		t.Errorf("said %q", said["any"])
	}
}

func TestANewerBuildEndsTheOlder(t *testing.T) {
	r := newRig(t)
	started := filepath.Join(r.Dir, "started")
	s := &manifest.Service{Name: "slow", Dir: r.Dir, Build: manifest.Command{Shell: "touch " + started + "; sleep 1000"}, Run: manifest.Command{Args: []string{"true"}}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan map[string]string)
	go func() { said, _ := r.build(ctx, s); ended <- said }()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(started); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("never started")
		}
	}
	cancel()
	if said := <-ended; len(said) != 0 {
		t.Errorf("an ended build reported %v", said)
	}
}

func TestWithoutGo(t *testing.T) {
	r := newRig(t)
	t.Setenv("PATH", t.TempDir())
	said, _ := r.build(t.Context(), r.services...)
	for name, text := range said {
		if !strings.Contains(text, "go: no such program on PATH; install Go") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if len(said) != 3 {
		t.Errorf("%v", said)
	}
}

// TestWhatRunsKeepsItsProgram: an instance of an older version, which serves on, may have
// to be started again.
func TestWhatRunsKeepsItsProgram(t *testing.T) {
	b := &Builder{Bin: t.TempDir()}
	var running string
	b.InUse = func(string) []string { return []string{running} }
	var last runtime.Artifact
	for i := range 8 {
		from := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(from, fmt.Appendf(nil, "#!/bin/sh\necho %d\n", i), 0o700); err != nil {
			t.Fatal(err)
		}
		a, err := b.install(from, "a")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			running = a.Version
		}
		last = a
		at := time.Now().Add(time.Duration(i-10) * time.Hour) // each newer than the one before
		if err := os.Chtimes(a.Argv[0], at, at); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(b.Bin, "a"))
	if err != nil || len(entries) != 5 {
		t.Errorf("%v %v", entries, err)
	}
	for _, version := range []string{running, last.Version} {
		if _, err := os.Stat(filepath.Join(b.Bin, "a", version)); err != nil {
			t.Error(err)
		}
	}
}
