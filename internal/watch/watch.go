// Package watch tells which files below a folder have changed: at once, for work
// that can be thrown away, and when no more comes, since an editor that writes
// one file in five steps makes one change.
package watch

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/ebef7166/mesh/internal/walk"
)

// How long changes are gathered: for Early, so that the steps of one write are
// one change; then until nothing has changed for Quiet, but never longer than
// Ceiling after the first, so that steady writing is still seen.
const (
	Early   = 5 * time.Millisecond
	Quiet   = 50 * time.Millisecond
	Ceiling = time.Second
)

// Tree watches the folders below Root.
type Tree struct {
	Root string
	// Ignore reports files and folders that do not count, by their absolute path.
	Ignore func(path string, dir bool) bool
	// Keep reports what counts although a .gitignore names it. Nil: nothing.
	Keep func(path string, dir bool) bool
	// Modes reports files of which it counts, too, who may read them. Nil: none.
	Modes func(path string) bool
	// Since is when what is there began to count: files that were written later, but
	// before their folder was watched, are told first. Zero: none are.
	Since time.Time

	git      gitignores
	watcher  *fsnotify.Watcher
	gathered map[string]bool // since the last telling
}

// Changes is told what has changed, absolute and sorted.
type Changes interface {
	// Early is told of the first changes of a burst.
	Early(paths []string)
	// Settled ends a burst; it is told of what has changed since Early.
	Settled(paths []string)
}

// Run tells of changes until ctx ends, and then of what has come until then. What
// happens while it tells is gathered.
func (t *Tree) Run(ctx context.Context, to Changes) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	t.watcher = watcher
	t.gathered = map[string]bool{}
	if err := t.add(t.Root, false); err != nil {
		return err
	}
	t.Since = time.Time{} // from here on there are events
	var early, quiet, ceiling <-chan time.Time
	if len(t.gathered) > 0 {
		early, quiet, ceiling = time.After(Early), time.After(Quiet), time.After(Ceiling)
	}
	for {
		select {
		case <-ctx.Done():
			if t.drain(); ceiling != nil || len(t.gathered) > 0 {
				to.Settled(t.flush())
			}
			return nil
		case err := <-watcher.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				continue
			}
			t.gathered[t.Root] = true // something was lost: all of it may have changed
		case event := <-watcher.Events:
			if !t.take(event) {
				continue
			}
		case <-early:
			early = nil
			to.Early(t.flush())
			continue
		case <-quiet:
			to.Settled(t.flush())
			early, quiet, ceiling = nil, nil, nil
			continue
		case <-ceiling:
			to.Settled(t.flush())
			early, quiet, ceiling = nil, nil, nil
			continue
		}
		quiet = time.After(Quiet)
		if ceiling == nil {
			early, ceiling = time.After(Early), time.After(Ceiling)
		}
	}
}

// drain takes the events that are on their way; of steady writing not all.
func (t *Tree) drain() {
	for over := time.After(Quiet); ; {
		select {
		case event := <-t.watcher.Events:
			t.take(event)
		case <-time.After(Early):
			return
		case <-over:
			return
		}
	}
}

func (t *Tree) flush() []string {
	paths := slices.Sorted(maps.Keys(t.gathered))
	clear(t.gathered)
	return paths
}

// take notes what an event says; false when it does not count.
func (t *Tree) take(event fsnotify.Event) bool {
	if event.Has(fsnotify.Rename) {
		t.forget(event.Name)
	}
	info, err := os.Lstat(event.Name)
	dir := err == nil && info.IsDir()
	if t.ignored(event.Name, dir) || event.Op == fsnotify.Chmod && (t.Modes == nil || !t.Modes(event.Name)) {
		return false
	}
	if dir && event.Has(fsnotify.Create) {
		// What was written into the folder before it was watched had no event.
		_ = t.add(event.Name, true) // gone again meanwhile
		return len(t.gathered) > 0
	}
	if !dir {
		t.gathered[event.Name] = true
	}
	if filepath.Base(event.Name) == gitignoreFile {
		t.readIgnores(filepath.Dir(event.Name))
	}
	return !dir
}

// forget gives up what is watched under a name that a folder has no more. It comes
// before the event of its new name, if it has one here: the system's watches go with
// the folders, and would go on telling the old names.
func (t *Tree) forget(dir string) {
	for _, path := range t.watcher.WatchList() {
		if path == dir || strings.HasPrefix(path, dir+string(filepath.Separator)) {
			_ = t.watcher.Remove(path) // gone by itself meanwhile
		}
	}
}

// add watches dir and all folders below it, and with note also notes the files
// that are there.
func (t *Tree) add(dir string, note bool) error {
	return walk.Dir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
			return nil // gone meanwhile, or not ours to see
		case err != nil:
			return err
		case path != t.Root && t.ignored(path, d.IsDir()):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			rel, _ := filepath.Rel(t.Root, path) // it is below Root
			t.git.read(t.Root, rel)
			return t.watcher.Add(path)
		case note || t.late(d):
			t.gathered[path] = true
		}
		return nil
	})
}

// late reports that a file was written since the tree began to count. The system's
// clock for files is a moment behind.
func (t *Tree) late(d fs.DirEntry) bool {
	if t.Since.IsZero() {
		return false
	}
	info, err := d.Info()
	return err == nil && info.ModTime().After(t.Since.Add(-10*time.Millisecond))
}

func (t *Tree) ignored(path string, dir bool) bool {
	rel, err := filepath.Rel(t.Root, path)
	if err != nil || rel == "." {
		return false
	}
	return noise(filepath.Base(rel), dir) || t.Ignore != nil && t.Ignore(path, dir) ||
		t.git.match(rel, dir) && (t.Keep == nil || !t.Keep(path, dir))
}

// readIgnores takes in a .gitignore that has changed: what it leaves out no more
// is watched from now on.
func (t *Tree) readIgnores(dir string) {
	if rel, err := filepath.Rel(t.Root, dir); err == nil {
		t.git.read(t.Root, rel)
		_ = t.add(dir, false) // gone again meanwhile
	}
}

// noise is what editors, version control and package managers write.
func noise(name string, dir bool) bool {
	if dir {
		return name == ".git" || name == ".hg" || name == ".svn" || name == "node_modules" || name == ".idea" || name == ".vscode"
	}
	return strings.HasSuffix(name, "~") || strings.HasPrefix(name, ".#") || strings.HasPrefix(name, "#") ||
		strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swx") || name == "4913" || name == ".DS_Store"
}
