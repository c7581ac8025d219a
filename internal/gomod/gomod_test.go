package gomod

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMembers(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if dirs, err := Members(dir); len(dirs) > 0 || err != nil {
		t.Errorf("without a go.work: %v %v", dirs, err)
	}
	write(t, filepath.Join(dir, "go.work"), "go 1.26\nuse (\n\t./a\n\t"+outside+"\n)\n")
	dirs, err := Members(dir)
	if want := []string{filepath.Join(dir, "a"), outside}; err != nil || !slices.Equal(dirs, want) {
		t.Errorf("%v %v", dirs, err)
	}
	write(t, filepath.Join(dir, "go.work"), "go 1.26\nreplace example.com/x => ../x\nreplace example.com/y => example.com/z v1.0.0\n")
	if got := WorkReplaced(dir); !slices.Equal(got, []string{filepath.Join(filepath.Dir(dir), "x")}) {
		t.Errorf("replaced: %v", got)
	}
	write(t, filepath.Join(dir, "go.work"), "use (\n")
	if _, err := Members(dir); err == nil {
		t.Error("a broken go.work is read")
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/a\nrequire (\n\texample.com/b v1.0.0\n\texample.com/c v1.0.0\n)\nreplace example.com/b => ../b\nreplace example.com/c => example.com/d v1.0.0\n")
	m, err := Read(dir)
	if err != nil || m.Path != "example.com/a" || m.Dir != dir || !slices.Equal(m.Requires, []string{"example.com/b", "example.com/c"}) ||
		!slices.Equal(m.Replaced, []string{filepath.Join(filepath.Dir(dir), "b")}) {
		t.Errorf("%+v %v", m, err)
	}
	write(t, filepath.Join(dir, "go.mod"), "module example.com/a\nrequire example.com/b v1.0.0\nnew directive\n")
	if m, err := Read(dir); err != nil || len(m.Requires) != 1 {
		t.Errorf("of a newer Go: %+v %v", m, err)
	}
	if _, err := Read(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

func TestRoot(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/one\n")
	write(t, filepath.Join(dir, "own", "go.mod"), "module example.com/own\n")
	write(t, filepath.Join(elsewhere, "go.mod"), "module example.com/elsewhere\n")
	for _, name := range []string{"cmd/api", "own/sub"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(elsewhere, "cmd", "main.go"), "package main\n")
	for link, to := range map[string]string{"link": filepath.Join(elsewhere, "cmd"), "spelled": dir} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for at, want := range map[string]string{"": "", "cmd/api": "", "own": "own", "own/sub": "own", "spelled/cmd/api": "spelled", "link": elsewhere} {
		if !filepath.IsAbs(want) {
			want = filepath.Join(dir, want)
		}
		if got := Root(filepath.Join(dir, at)); !same(got, want) || at != "link" && got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if got := Root(t.TempDir()); got != "" {
		t.Errorf("without a go.mod: %s", got)
	}
}

func TestProgramName(t *testing.T) {
	for path, want := range map[string]string{
		"example.com/api": "api", "example.com/shop/v2": "shop", "example.com/shop/v2/cmd/x": "x", "v2": "v2",
		"example.com/v1": "v1", "example.com/v0": "v0", "example.com/v": "v", "example.com/v2x": "v2x", "example.com/v10": "example.com",
	} {
		if got := ProgramName(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestImportPath(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), "module example.com/x // here\n")
	write(t, filepath.Join(dir, "cmd", "y", "main.go"), "package main\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Join(dir, "cmd"), link); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{
		dir: "example.com/x", filepath.Join(dir, "cmd", "y"): "example.com/x/cmd/y", filepath.Join(link, "y"): "example.com/x/cmd/y",
	} {
		if got := ImportPath(at); got != want {
			t.Errorf("%s: %s", at, got)
		}
	}
}
