package watch

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func run(t *testing.T, tree *Tree) chan []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan []string, 100), make(chan error)
	go func() { done <- tree.Run(ctx, func(paths []string) { changes <- paths }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	// Until it watches: a probe that is written until it is seen.
	probe := filepath.Join(tree.Root, "probe")
	for {
		write(t, probe)
		select {
		case <-changes:
			return changes
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(time.Now().String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sees waits until a change of path is told.
func sees(t *testing.T, changes chan []string, path string) {
	t.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case paths := <-changes:
			for _, p := range paths {
				if p == path {
					return
				}
				if strings.Contains(p, "ignored") || strings.HasSuffix(p, "~") {
					t.Errorf("told of %s", p)
				}
			}
		case <-late:
			t.Fatalf("never told of %s", path)
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	changes := run(t, &Tree{Root: dir, Ignore: func(path string, _ bool) bool { return path == "ignored" }})
	for _, name := range []string{"a.go", "new/folder/b.go", "new/folder/c.go"} {
		write(t, filepath.Join(dir, "ignored", "x.go"))
		write(t, filepath.Join(dir, "a.go~"))
		path := filepath.Join(dir, filepath.FromSlash(name))
		write(t, path)
		sees(t, changes, path)
	}
	// An editor that writes beside and renames.
	path := filepath.Join(dir, "a.go")
	write(t, path+".tmp")
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
	sees(t, changes, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	sees(t, changes, path)
}

func TestSteadyWritingIsStillTold(t *testing.T) {
	dir := t.TempDir()
	changes := run(t, &Tree{Root: dir})
	path := filepath.Join(dir, "busy.log")
	stop := time.After(10 * time.Second)
	for {
		write(t, path)
		select {
		case <-changes:
			return // although it never was quiet
		case <-stop:
			t.Fatal("the ceiling does not hold")
		case <-time.After(Quiet / 5):
		}
	}
}
