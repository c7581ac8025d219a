package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/manifest"
)

// TestChanged: what is as the command found it when it began is no change, and what
// nobody looked at is one.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"main.c", "out", "old", "gone/x", ".env", ".venv/lib", "sub/.hidden"} {
		write(name, "1")
	}
	if err := os.Symlink("out", at("link")); err != nil {
		t.Fatal(err)
	}
	paths := []string{dir}
	for _, name := range []string{"main.c", "out", "old", "gone", "gone/x", ".env", ".venv/lib", ".venv/new", "sub/.hidden", "link", "new", "temporary"} {
		paths = append(paths, at(name))
	}
	b, s := &Builder{}, &manifest.Service{Name: "a", Dir: dir}
	if got := b.Changed(s, paths); len(got) != len(paths) {
		t.Errorf("before any build: %v", got)
	}
	b.begin(s)
	write("out", "1") // again
	write("main.c", "2")
	write("new", "1")
	for _, name := range []string{"old", "gone", "link"} {
		if err := os.RemoveAll(at(name)); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, path := range b.Changed(s, append(paths, filepath.Join(filepath.Dir(dir), "elsewhere"))) {
		rel, _ := filepath.Rel(dir, path)
		got = append(got, filepath.ToSlash(rel))
	}
	if want := ". main.c old gone gone/x .venv/lib .venv/new link new ../elsewhere"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", strings.Join(got, " "), want)
	}
}
