package scaffold_test

import (
	"bytes"
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/scaffold"
)

// everything is a connect service with every option.
var everything = scaffold.ServiceOptions{
	Name: "cart", Calls: []string{"profile"}, Publishes: []string{"checked_out"}, Consumes: []string{"profile.deleted"},
}

// newWorkspace writes a workspace with these services.
func newWorkspace(t testing.TB, services ...scaffold.ServiceOptions) scaffold.Workspace {
	t.Helper()
	dir := t.TempDir()
	files, err := scaffold.NewWorkspace(scaffold.InitOptions{Dir: dir, Name: "shop"})
	if err == nil {
		err = scaffold.Write(dir, files)
	}
	if err != nil {
		t.Fatal(err)
	}
	ws, err := scaffold.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range services {
		files, err := scaffold.NewService(t.Context(), ws, opts)
		if err == nil {
			err = scaffold.Write(dir, files)
		}
		if err != nil {
			t.Fatalf("%s: %v", opts.Name, err)
		}
	}
	return ws
}

// TestGolden shows what services look like: which files, and the manifest.
func TestGolden(t *testing.T) {
	ws := newWorkspace(t, scaffold.ServiceOptions{Name: "profile", Publishes: []string{"deleted"}})
	for name, opts := range map[string]scaffold.ServiceOptions{
		"connect": everything,
		"http":    {Name: "search", Template: "http"},
		"worker":  {Name: "mailer", Template: "worker", Database: "postgres", Consumes: []string{"profile.deleted", "legacy.done"}},
	} {
		files, err := scaffold.NewService(t.Context(), ws, opts)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for _, f := range files {
			got.WriteString(f.Path + "\n")
		}
		for _, f := range files {
			if show := path.Base(f.Path); show == "mesh.service.yaml" || show == "consume.go" || show == "go.work" {
				got.WriteString("\n-- " + f.Path + " --\n")
				got.Write(f.Data)
			}
		}
		compareGolden(t, filepath.Join("testdata", name+".golden"), got.Bytes())
	}
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if flag.Lookup("update").Value.String() == "true" {
		put(t, name, string(got))
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update accepts):\n%s", name, got)
	}
}

// lines counts what a team owns of a service's Go: every line, comments and
// empty ones too, of all but tests and what is generated from contracts.
func lines(files []scaffold.File) (n int) {
	for _, f := range files {
		if path.Ext(f.Path) == ".go" && strings.HasPrefix(f.Path, "services/") && !strings.HasSuffix(f.Path, "_test.go") {
			n += bytes.Count(f.Data, []byte("\n"))
		}
	}
	return n
}

func TestServicesAreSmall(t *testing.T) {
	ws := newWorkspace(t, scaffold.ServiceOptions{Name: "profile", Publishes: []string{"deleted"}})
	onPostgres := everything
	onPostgres.Database = "postgres"
	for _, tc := range []struct {
		opts  scaffold.ServiceOptions
		limit int
	}{
		{scaffold.ServiceOptions{Name: "search", Template: "http"}, 200},
		{everything, 900},
		{onPostgres, 900},
	} {
		files, err := scaffold.NewService(t.Context(), ws, tc.opts)
		if err != nil {
			t.Fatal(err)
		}
		if n := lines(files); n > tc.limit {
			t.Errorf("%+v has %d lines, want %d at most", tc.opts, n, tc.limit)
		} else {
			t.Logf("%s %s: %d lines", tc.opts.Name, tc.opts.Database, n)
		}
	}
}

func TestServicesDoNotDependOnMesh(t *testing.T) {
	ws := newWorkspace(t)
	files, err := scaffold.NewService(t.Context(), ws, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if path.Ext(f.Path) == ".go" && bytes.Contains(bytes.ToLower(f.Data), []byte("mesh")) || path.Base(f.Path) == "go.mod" && bytes.Contains(f.Data, []byte("/mesh")) {
			t.Errorf("%s knows mesh", f.Path)
		}
	}
}

func BenchmarkNewService(b *testing.B) {
	ws := newWorkspace(b, scaffold.ServiceOptions{Name: "profile"})
	for b.Loop() {
		files, err := scaffold.NewService(b.Context(), ws, everything)
		if err == nil {
			err = scaffold.Write(filepath.Join(b.TempDir(), "x"), files[:len(files)-1]) // go.work is not new
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func TestAgainChangesNothing(t *testing.T) {
	ws := newWorkspace(t, everything)
	before := tree(t, ws.Dir)
	files, err := scaffold.NewService(t.Context(), ws, everything)
	if err == nil {
		err = scaffold.Write(ws.Dir, files)
	}
	if after := tree(t, ws.Dir); err != nil || len(after) != len(before) {
		t.Errorf("a second time: %v, %d files, want %d", err, len(after), len(before))
	}
}

func TestManifestsLoad(t *testing.T) {
	ws := newWorkspace(t,
		scaffold.ServiceOptions{Name: "profile", Publishes: []string{"deleted"}}, everything,
		scaffold.ServiceOptions{Name: "search", Template: "http", Database: "sqlite"},
		scaffold.ServiceOptions{Name: "mailer", Template: "worker", Consumes: []string{"profile.deleted", "cart.checked_out"}})
	m, err := manifest.Load(ws.Dir)
	if err != nil || len(m.Services) != 4 {
		t.Errorf("Load = %v, %v", m, err)
	}
	dir := t.TempDir()
	if err := scaffold.Demo(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if m, err = manifest.Load(dir); err != nil || len(m.Services) != 5 || len(m.Warnings) > 0 {
		t.Errorf("the shop: Load = %+v, %v", m, err)
	}
}

func TestInit(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, ".gitignore"), "bin")
	put(t, filepath.Join(dir, "main.go"), "package main")
	for range 2 {
		files, err := scaffold.NewWorkspace(scaffold.InitOptions{Dir: dir, Name: "old"})
		if err != nil {
			break // it is one now
		}
		if err := scaffold.Write(dir, files); err != nil {
			t.Fatal(err)
		}
	}
	got := tree(t, dir)
	if len(got) != 3 || got[".gitignore"] != "bin\n.mesh/\n" || got["main.go"] != "package main" {
		t.Errorf("a folder with files has become %v", got)
	}

	ws := scaffold.InitOptions{Dir: filepath.Join(t.TempDir(), "new"), Module: "corp.example/x"}
	files, err := scaffold.NewWorkspace(ws)
	if err == nil {
		err = scaffold.Write(ws.Dir, files)
	}
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := scaffold.Open(filepath.Join(ws.Dir, ".github")); err != nil || opened.Name != "new" || opened.Module != "corp.example/x" {
		t.Errorf("Open = %+v, %v", opened, err)
	}
	for _, name := range []string{"mesh.yaml", "go.work", ".gitignore", "README.md", ".github/workflows/smoke.yaml"} {
		if tree(t, ws.Dir)[name] == "" {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestOwnTemplate(t *testing.T) {
	from := t.TempDir()
	put(t, filepath.Join(from, "{{.Name}}.txt.tmpl"), "{{.Name}} of {{.Set.team}}\n")
	put(t, filepath.Join(from, "plain.txt"), "{{untouched}}\n")
	ws := newWorkspace(t)
	opts := scaffold.ServiceOptions{Name: "cart", From: from, Set: map[string]string{"team": "storefront"}}
	files, err := scaffold.NewService(t.Context(), ws, opts)
	if err == nil {
		err = scaffold.Write(ws.Dir, files)
	}
	got := tree(t, ws.Dir)
	if err != nil || got["services/cart/cart.txt"] != "cart of storefront\n" || got["services/cart/plain.txt"] != "{{untouched}}\n" {
		t.Errorf("wrote %v, %v", got, err)
	}
	opts.Set = nil
	if _, err := scaffold.NewService(t.Context(), ws, opts); err == nil || !strings.Contains(err.Error(), "team") {
		t.Errorf("a value that was not given: %v", err)
	}
	for name, prepare := range map[string]func() error{
		"link":     func() error { return os.Symlink("/etc/passwd", filepath.Join(from, "link")) },
		"dangling": func() error { return os.Symlink("nowhere", filepath.Join(from, "dangling")) },
		"chain":    func() error { return os.Symlink(t.TempDir(), filepath.Join(from, "chain")) },
		"{{.Set.team}}.tmpl": func() error {
			return os.WriteFile(filepath.Join(from, "{{.Set.team}}.tmpl"), []byte("x"), 0o644)
		},
	} {
		if err := prepare(); err != nil {
			t.Fatal(err)
		}
		files, err := scaffold.NewService(t.Context(), ws, scaffold.ServiceOptions{Name: "evil", From: from, Set: map[string]string{"team": "../../../evil"}})
		if err == nil || len(files) > 0 {
			t.Errorf("%s: accepted", name)
		}
		if err := os.Remove(filepath.Join(from, name)); err != nil {
			t.Fatal(err)
		}
	}
}
