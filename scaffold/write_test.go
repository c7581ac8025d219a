package scaffold_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/scaffold"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree returns every file below dir with what it holds.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func file(path, text string) scaffold.File { return scaffold.File{Path: path, Data: []byte(text)} }

func TestWriteListsEveryConflictAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.go"), "the user's")
	put(t, filepath.Join(dir, "same"), "same")
	put(t, filepath.Join(dir, "work"), "edited")
	put(t, filepath.Join(dir, "folder"), "not a folder")
	before := tree(t, dir)

	err := scaffold.Write(dir, []scaffold.File{
		file("new", "new"), file("a.go", "ours"), file("same", "same"), file("folder/b.go", "ours"),
		{Path: "work", Data: []byte("new"), Old: []byte("old")},
		{Path: "gone", Data: []byte("new"), Old: []byte("old")},
	})
	var conflict *scaffold.ConflictError
	if !errors.As(err, &conflict) || len(conflict.Paths) != 4 {
		t.Fatalf("Write = %v, want four conflicts", err)
	}
	for i, name := range []string{"a.go", "folder/b.go", "work", "gone"} {
		if !strings.HasPrefix(conflict.Paths[i], name+" ") {
			t.Errorf("conflict %d is %q, want %s", i, conflict.Paths[i], name)
		}
	}
	if after := tree(t, dir); len(after) != len(before) || after["a.go"] != "the user's" {
		t.Errorf("something was written: %v", after)
	}
}

func TestWriteReplacesWhatItKnows(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "go.work"), "old")
	err := scaffold.Write(dir, []scaffold.File{{Path: "go.work", Data: []byte("new"), Old: []byte("old")}, file("a/b/c", "c")})
	if err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) != 2 || got["go.work"] != "new" || got["a/b/c"] != "c" {
		t.Errorf("wrote %v", got)
	}
}

func TestWriteNeverLeavesItsFolder(t *testing.T) {
	outside := t.TempDir()
	for name, prepare := range map[string]func(dir string) error{
		"../x":     func(string) error { return nil },
		"/x":       func(string) error { return nil },
		"a/../../": func(string) error { return nil },
		"link/x":   func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "link")) },
		"up/x":     func(dir string) error { return os.Symlink("..", filepath.Join(dir, "up")) },
		"file": func(dir string) error {
			return os.Symlink(filepath.Join(outside, "target"), filepath.Join(dir, "file"))
		},
		"hop/x/y": func(dir string) error {
			return errors.Join(os.Symlink("hop2", filepath.Join(dir, "hop")), os.Symlink(outside, filepath.Join(dir, "hop2")))
		},
	} {
		dir := filepath.Join(t.TempDir(), "workspace")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		if err := scaffold.Write(dir, []scaffold.File{file("first", "first"), file(name, "x")}); err == nil {
			t.Errorf("%s: written", name)
		}
		if _, err := os.Lstat(filepath.Join(dir, "first")); err == nil {
			t.Errorf("%s: something was written before the refusal", name)
		}
		if entries, _ := os.ReadDir(outside); len(entries) > 0 {
			t.Errorf("%s: wrote outside: %v", name, entries)
		}
		if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 {
			t.Errorf("%s: wrote beside: %v", name, entries)
		}
	}
}

func TestWriteMakesNoFolderForAName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "workspace")
	err := scaffold.Write(dir, []scaffold.File{file("first/x", "x"), file(strings.Repeat("x", 300), "too long a name")})
	if err == nil {
		t.Fatal("a name of 300 letters was written")
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Error("left a folder behind")
	}
}
