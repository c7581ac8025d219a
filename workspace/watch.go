package workspace

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/watch"
	"github.com/ebef7166/mesh/manifest"
)

// watch rebuilds what a save affects until ctx ends.
func (w *Workspace) watch(ctx context.Context) error {
	root := w.Manifest().Dir
	tree := &watch.Tree{Root: root, Ignore: ignored}
	err := tree.Run(ctx, func(paths []string) { w.saved(ctx, paths) })
	if err != nil {
		// Without it everything still runs; only saves are not seen.
		w.log.Warn("saves are not watched: " + err.Error())
	}
	<-ctx.Done()
	return nil
}

// ignored is what mesh and builds write themselves.
func ignored(path string, dir bool) bool {
	base := filepath.Base(path)
	if dir {
		return base == StateDir || base == "bin" || base == "dist" || base == "target" || base == "__pycache__" || strings.HasPrefix(base, ".")
	}
	return strings.HasSuffix(base, ".log") || strings.HasSuffix(base, ".pyc") || strings.Contains(base, ".db")
}

func (w *Workspace) saved(ctx context.Context, paths []string) {
	if slices.ContainsFunc(paths, isManifest) {
		if _, err := w.Reload(ctx); err != nil {
			w.log.Error("the manifest is not applied: " + err.Error())
			return
		}
	}
	names := affected(w.running(), paths)
	if len(names) > 0 {
		_ = w.supervisor.Rebuild(names...) // one that was removed meanwhile needs no build
	}
}

func isManifest(path string) bool {
	base := filepath.Base(path)
	return base == manifest.WorkspaceFile || base == manifest.ServiceFile || base == manifest.LocalFile
}

func (w *Workspace) running() []*manifest.Service {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.selected
}

// affected are the services that a change of these files may change: the one in
// whose folder a file lies, and for one that lies in nobody's, every Go service,
// of which the compiler then finds those that are really new.
func affected(services []*manifest.Service, paths []string) []string {
	var names []string
	for _, path := range paths {
		if isManifest(path) {
			continue // applied by Reload
		}
		owner := ownerOf(services, path)
		for _, s := range services {
			shared := owner == nil && s.Go != "" && goInput(path)
			if (s == owner && watches(s, path) || shared) && !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// ownerOf is the service in whose folder path lies, the innermost.
func ownerOf(services []*manifest.Service, path string) *manifest.Service {
	var owner *manifest.Service
	for _, s := range services {
		if strings.HasPrefix(path, s.Dir+string(filepath.Separator)) && (owner == nil || len(s.Dir) > len(owner.Dir)) {
			owner = s
		}
	}
	return owner
}

func goInput(path string) bool {
	base := filepath.Base(path)
	return strings.HasSuffix(base, ".go") || base == "go.mod" || base == "go.sum" || base == "go.work" || base == "go.work.sum"
}

// watches reports whether a service is built anew when path changes.
func watches(s *manifest.Service, path string) bool {
	rel, err := filepath.Rel(s.Dir, path)
	if err != nil || slices.Equal(s.Watch, []string{"manual"}) || s.Reload == "self" {
		return false
	}
	if len(s.Watch) > 0 {
		return slices.ContainsFunc(s.Watch, func(glob string) bool { return matches(glob, filepath.ToSlash(rel)) })
	}
	if s.Go != "" {
		return !strings.HasSuffix(rel, "_test.go") && !strings.HasSuffix(rel, ".md")
	}
	return true
}

// matches supports ** for any number of folders, beside what path.Match has.
func matches(glob, path string) bool {
	before, after, double := strings.Cut(glob, "**")
	if !double {
		ok, err := filepath.Match(glob, path)
		return err == nil && ok
	}
	if !strings.HasPrefix(path, before) {
		return false
	}
	rest := strings.TrimPrefix(path, before)
	after = strings.TrimPrefix(after, "/")
	for {
		if after == "" || matches(after, rest) {
			return true
		}
		_, next, found := strings.Cut(rest, "/")
		if !found {
			return false
		}
		rest = next
	}
}
