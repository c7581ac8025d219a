package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	go func() { done <- tree.Run(ctx, teller(changes)) }()
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

// teller hands on whatever it is told.
type teller chan []string

func (c teller) Early(paths []string)   { c <- paths }
func (c teller) Settled(paths []string) { c <- paths }

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
	changes := run(t, &Tree{Root: dir, Ignore: func(path string, _ bool) bool { return filepath.Base(path) == "ignored" }})
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

// TestTheEndTellsWhatHasCome: a burst that has begun is told to its end.
func TestTheEndTellsWhatHasCome(t *testing.T) {
	tree := &Tree{Root: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	path, rest := filepath.Join(tree.Root, "a"), filepath.Join(tree.Root, "b")
	told := ending{early: func() { write(t, rest); cancel() }, settled: make(chan []string, 100)}
	done := make(chan error)
	go func() { done <- tree.Run(ctx, told) }()
	for running := true; running; { // until it watches
		write(t, path)
		select {
		case err := <-done:
			if running = false; err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(told.settled)
	for paths := range told.settled {
		if slices.Contains(paths, rest) {
			return
		}
	}
	t.Error("what came after Early was not told")
}

// ending ends the tree at the first telling.
type ending struct {
	early   func()
	settled chan []string
}

func (e ending) Early([]string)         { e.early() }
func (e ending) Settled(paths []string) { e.settled <- paths }

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

// bursts counts what it is told.
type bursts struct{ early, settled chan []string }

func (b bursts) Early(paths []string)   { b.early <- paths }
func (b bursts) Settled(paths []string) { b.settled <- paths }

func TestTheFirstOfABurstIsToldAtOnce(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	told, done := bursts{make(chan []string, 100), make(chan []string, 100)}, make(chan error)
	go func() { done <- (&Tree{Root: dir}).Run(ctx, told) }()
	path := filepath.Join(dir, "a.go")
	var early []string
	for early == nil { // until it watches
		write(t, path)
		select {
		case early = <-told.early:
		case <-time.After(2 * Early):
		}
	}
	if len(early) != 1 || early[0] != path {
		t.Errorf("early: %v", early)
	}
	<-told.settled // every burst ends, also when nothing more came
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGitignore(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		".gitignore":     "*.gen\n# a comment\n/out/\n!keep.gen\nmesh.local.yaml\n",
		"sub/.gitignore": "local\n!*.gen\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	tree := &Tree{Root: dir, Keep: func(path string, _ bool) bool { return filepath.Base(path) == "mesh.local.yaml" }}
	changes := run(t, tree)
	told := func(name string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		write(t, path)
		sees(t, changes, path)
	}
	for _, name := range []string{"ignored.gen", "out/ignored", "sub/local"} {
		write(t, filepath.Join(dir, filepath.FromSlash(name)))
	}
	told("keep.gen")
	told("sub/b.gen")
	told("mesh.local.yaml")
	told("local")
	// One that changes counts from then on.
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*.go\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sees(t, changes, filepath.Join(dir, ".gitignore"))
	write(t, filepath.Join(dir, "ignored.go"))
	told("x.gen")
	told("out/deep")
}

// TestModes: that a file may be read is a change where it counts, and there alone.
func TestModes(t *testing.T) {
	tree := &Tree{Root: t.TempDir(), Modes: func(path string) bool { return filepath.Base(path) == ".env" }}
	counts, does := filepath.Join(tree.Root, ".env"), filepath.Join(tree.Root, "not")
	write(t, counts)
	write(t, does)
	changes := run(t, tree)
	for len(changes) > 0 {
		<-changes
	}
	for _, path := range []string{does, counts} {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for late := time.After(10 * time.Second); ; {
		select {
		case paths := <-changes:
			if slices.Contains(paths, does) {
				t.Errorf("told of %q", paths)
			}
			if slices.Contains(paths, counts) {
				return
			}
		case <-late:
			t.Fatal("never told")
		}
	}
}

// A root that is a symbolic link is watched, and told of as it was given.
func TestALinkIsWatched(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "real", "sub", "a.go"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	changes := run(t, &Tree{Root: link})
	write(t, filepath.Join(dir, "real", "sub", "a.go"))
	sees(t, changes, filepath.Join(link, "sub", "a.go"))
}

// TestARenamedFolder goes on being watched, under its new name.
func TestARenamedFolder(t *testing.T) {
	dir := t.TempDir()
	old, renamed := filepath.Join(dir, "old"), filepath.Join(dir, "renamed")
	write(t, filepath.Join(old, "a"))
	write(t, filepath.Join(old, "sub", "b"))
	changes := run(t, &Tree{Root: dir})
	for range 5 {
		if err := os.Rename(old, renamed); err != nil {
			t.Fatal(err)
		}
		sees(t, changes, filepath.Join(renamed, "a"))
		time.Sleep(2 * Quiet) // a save that comes later, when nothing is under way
		for _, name := range []string{"a", "new", filepath.Join("sub", "b"), filepath.Join("sub", "new")} {
			write(t, filepath.Join(renamed, name))
			sees(t, changes, filepath.Join(renamed, name))
		}
		old, renamed = renamed, old
	}
}

// TestWhatWasWrittenBeforeTheWatch: after what is there began to count, not before.
func TestWhatWasWrittenBeforeTheWatch(t *testing.T) {
	root := t.TempDir()
	old, late := filepath.Join(root, "ignored-old"), filepath.Join(root, "sub", "late")
	write(t, old)
	write(t, late)
	since := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, since.Add(-time.Hour), since.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(teller, 100), make(chan error)
	go func() { done <- (&Tree{Root: root, Since: since}).Run(ctx, changes) }()
	sees(t, changes, late)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
