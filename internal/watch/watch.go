// Package watch tells which files below a folder have changed, in handfuls: an
// editor that writes one file in five steps is one change.
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
)

// How long changes are gathered: until nothing has changed for Quiet, but never
// longer than Ceiling after the first, so that steady writing is still seen.
const (
	Quiet   = 50 * time.Millisecond
	Ceiling = time.Second
)

// Tree watches the folders below Root.
type Tree struct {
	Root string
	// Ignore reports files and folders that do not count, by their path below
	// Root with slashes.
	Ignore func(path string, dir bool) bool

	watcher *fsnotify.Watcher
}

// Run calls changed with the paths that changed, absolute and sorted, until ctx
// ends. Changes that happen while changed runs are gathered for the next call.
func (t *Tree) Run(ctx context.Context, changed func(paths []string)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	t.watcher = watcher
	gathered := map[string]bool{}
	if err := t.add(t.Root, nil); err != nil {
		return err
	}
	var quiet, ceiling <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				gathered[t.Root] = true // something was lost: all of it may have changed
				quiet = time.After(Quiet)
			}
		case event := <-watcher.Events:
			if !t.take(event, gathered) {
				continue
			}
			quiet = time.After(Quiet)
			if ceiling == nil {
				ceiling = time.After(Ceiling)
			}
		case <-quiet:
			flush(&gathered, changed)
			quiet, ceiling = nil, nil
		case <-ceiling:
			flush(&gathered, changed)
			quiet, ceiling = nil, nil
		}
	}
}

func flush(gathered *map[string]bool, changed func([]string)) {
	if len(*gathered) > 0 {
		changed(slices.Sorted(maps.Keys(*gathered)))
	}
	*gathered = map[string]bool{}
}

// take notes what an event says; false when it does not count.
func (t *Tree) take(event fsnotify.Event, gathered map[string]bool) bool {
	info, err := os.Lstat(event.Name)
	dir := err == nil && info.IsDir()
	if t.ignored(event.Name, dir) || event.Op == fsnotify.Chmod {
		return false
	}
	if dir && event.Has(fsnotify.Create) {
		// What was written into the folder before it was watched had no event.
		_ = t.add(event.Name, gathered) // gone again meanwhile
		return len(gathered) > 0
	}
	if !dir {
		gathered[event.Name] = true
	}
	return !dir
}

// add watches dir and all folders below it, and notes the files there are when
// found is not nil.
func (t *Tree) add(dir string, found map[string]bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
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
			return t.watcher.Add(path)
		case found != nil:
			found[path] = true
		}
		return nil
	})
}

func (t *Tree) ignored(path string, dir bool) bool {
	rel, err := filepath.Rel(t.Root, path)
	if err != nil || rel == "." {
		return false
	}
	return noise(filepath.Base(rel), dir) || t.Ignore != nil && t.Ignore(filepath.ToSlash(rel), dir)
}

// noise is what editors, version control and package managers write.
func noise(name string, dir bool) bool {
	if dir {
		return name == ".git" || name == ".hg" || name == ".svn" || name == "node_modules" || name == ".idea" || name == ".vscode"
	}
	return strings.HasSuffix(name, "~") || strings.HasPrefix(name, ".#") || strings.HasPrefix(name, "#") ||
		strings.HasSuffix(name, ".swp") || strings.HasSuffix(name, ".swx") || name == "4913" || name == ".DS_Store"
}
