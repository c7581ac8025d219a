package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/internal/glob"
	"github.com/ebef7166/mesh/internal/gomod"
	"github.com/ebef7166/mesh/internal/watch"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/logs"
)

// watch rebuilds what a save affects until ctx ends, in the workspace's folder
// and in those of services and their modules that lie elsewhere.
func (w *Workspace) watch(ctx context.Context) error {
	since := w.opened
	for ctx.Err() == nil {
		roots := w.watched()
		at := resolved(roots)
		trees, cancel := context.WithCancel(ctx)
		var watching sync.WaitGroup
		for _, root := range roots {
			tree := &watch.Tree{Root: root, Ignore: w.ignoredIn(root, roots), Keep: w.kept, Modes: w.tellsVariables, Since: since}
			changed := func() {
				if !slices.Equal(w.watched(), roots) || !slices.Equal(resolved(roots), at) {
					cancel() // a manifest moved a service, or a link leads elsewhere
				}
			}
			watching.Go(func() { w.follow(trees, tree, &saves{Workspace: w, ctx: ctx, applied: changed}) })
		}
		<-trees.Done()
		since = time.Now()
		cancel()
		watching.Wait()
	}
	return nil
}

func (w *Workspace) follow(ctx context.Context, tree *watch.Tree, to *saves) {
	if err := tree.Run(ctx, to); err != nil {
		// Without it everything still runs; only saves are not seen.
		w.log.Warn("saves below " + tree.Root + " are not watched: " + watchError(err))
	}
}

// watchError names the limit of inotify(7) that err stands for.
func watchError(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "too many folders: raise fs.inotify.max_user_watches, or name what is generated in .gitignore"
	case errors.Is(err, syscall.EMFILE):
		return "too many watchers on this machine: raise fs.inotify.max_user_instances"
	}
	return err.Error()
}

// watched are the folders to watch, sorted. None lies in another, but for the
// workspace's own, which may lie in a module, and those that a symbolic link leads
// to, since links are not followed.
func (w *Workspace) watched() []string {
	dir, services := w.Manifest().Dir, w.running()
	folders := outerModules(dir, readModules(dir, w.Manifest().Services), services)
	for _, s := range services {
		folders = append(folders, s.Dir)
	}
	roots := []string{dir}
	for _, folder := range slices.Sorted(slices.Values(folders)) { // the outer before the inner
		if !slices.ContainsFunc(roots, func(root string) bool { return reaches(root, folder) }) {
			roots = append(roots, folder)
		}
	}
	slices.Sort(roots)
	return roots
}

// resolved is where folders lie, links seen through; "" for one that is not there.
func resolved(folders []string) []string {
	at := make([]string, len(folders))
	for i, folder := range folders {
		at[i], _ = filepath.EvalSymlinks(folder)
	}
	return at
}

// reaches reports that folder lies below root, with no symbolic link in between.
func reaches(root, folder string) bool {
	if !below(folder, root) {
		return false
	}
	from, errFrom := filepath.EvalSymlinks(root)
	to, errTo := filepath.EvalSymlinks(folder)
	return errFrom != nil || errTo != nil || to == filepath.Join(from, strings.TrimPrefix(folder, root))
}

// ignoredIn is what does not count below one of the folders that are watched: what
// lies below another of them is told of there. That a link leads to it counts here.
func (w *Workspace) ignoredIn(root string, roots []string) func(path string, dir bool) bool {
	return func(path string, dir bool) bool {
		return dir && path != root && slices.Contains(roots, path) || w.ignored(path, dir)
	}
}

func below(path, dir string) bool {
	rest, in := strings.CutPrefix(path, dir)
	return in && (rest == "" || rest[0] == filepath.Separator)
}

// saves carries out what is saved: builds begin at once, manifests are applied
// and new versions swapped in when whoever saves is done.
type saves struct {
	*Workspace
	ctx       context.Context // of the watch: its trees end earlier where there are others to watch
	applied   func()          // the folders to watch may be others now
	apply     bool            // one of them was saved in this burst, or what a service is told
	contracts bool            // one of those was
	modules   bool            // a file was that says which folders Go services are built from, or a link to one
}

// Early implements watch.Changes.
func (s *saves) Early(paths []string) {
	s.apply, s.contracts, s.modules = false, false, false
	s.note(paths)
	s.prepare(paths)
}

// note remembers what the end of the burst has to see to.
func (s *saves) note(paths []string) {
	s.apply = s.apply || slices.ContainsFunc(paths, s.isApplied)
	s.contracts = s.contracts || slices.ContainsFunc(paths, s.isContract)
	s.modules = s.modules || slices.ContainsFunc(paths, func(path string) bool {
		return slices.Contains([]string{"go.mod", "go.work"}, filepath.Base(path)) || s.leads(path)
	})
}

// leads reports that a path is a service's folder itself, such as a link to it.
func (s *saves) leads(path string) bool {
	return slices.ContainsFunc(s.running(), func(svc *manifest.Service) bool { return svc.Dir == path })
}

// Settled implements watch.Changes.
func (s *saves) Settled(paths []string) {
	if s.ctx.Err() != nil {
		return // everything is stopped
	}
	defer s.supervisor.Settled()
	s.note(paths)
	apply, contracts, modules := s.apply, s.contracts, s.modules
	s.apply, s.contracts, s.modules = false, false, false
	if contracts {
		s.generate(s.ctx)
	}
	if apply {
		if _, err := s.Reload(s.ctx); err != nil {
			s.log.Error("the manifest is not applied: " + err.Error()) // what runs by the one before is still built
		}
	}
	if apply || modules {
		s.applied()
	}
	s.prepare(paths)
}

// prepare builds what is affected, but for tasks that have begun: these run to their
// end, and from the newest code when they are run the next time.
func (s *saves) prepare(paths []string) {
	all := s.Manifest().Services
	dir := s.Manifest().Dir
	from := sources{dir: dir, modules: readModules(dir, all), recipes: recipesOf(dir, s.running())}
	changed := affected(all, s.running(), from, paths)
	var names []string
	for _, svc := range s.running() {
		if changed[svc.Name] == "" || svc.Kind == manifest.KindTask && s.supervisor.Begun(svc.Name) {
			continue
		}
		file := affected(all, []*manifest.Service{svc}, from, s.counted(svc, paths))[svc.Name]
		if file != "" && s.reload(svc, file) {
			names = append(names, svc.Name)
		}
	}
	if len(names) > 0 {
		_ = s.supervisor.Prepare(names...) // one that was removed meanwhile needs no build
	}
}

// counted are those of paths that were not written by the service itself, as far as
// that is known.
func (s *saves) counted(svc *manifest.Service, paths []string) []string {
	if !svc.Build.Empty() {
		paths = s.builder.Changed(svc, paths)
	}
	return s.storms.counting(svc, s.Manifest().Dir, paths)
}

// reload says in the service's log why it is built anew; false when it is not.
func (s *saves) reload(svc *manifest.Service, file string) bool {
	file = within(s.Manifest().Dir, file)
	ok := !svc.Build.Empty() && s.building(svc.Name) // all that comes meanwhile makes for one build more
	if !ok {
		var say string
		if ok, say = s.storms.allow(svc, file, time.Now()); say != "" {
			s.log.Warn(say)
		}
	}
	if ok {
		log := s.logs.Writer(svc.Name, svc.Name, logs.Build)
		fmt.Fprintln(log, file+" was saved")
	}
	return ok
}

func (s *saves) building(service string) bool {
	now, _ := s.supervisor.Look(service).Service(service)
	return now.Building
}

// ignored is what mesh and builds write themselves. Where a service says what is
// watched, nothing else decides.
func (w *Workspace) ignored(path string, dir bool) bool {
	base := filepath.Base(path)
	switch {
	case base == StateDir:
		return true
	case w.explicit(path):
		return false
	case dir:
		return base == "__pycache__" || strings.HasPrefix(base, ".") || generated(path)
	}
	return strings.HasSuffix(base, ".log") || strings.HasSuffix(base, ".pyc") || databaseFile().MatchString(base) || filepath.Base(filepath.Dir(path)) == "bin" && compiled(path)
}

// kept is what counts although it is not committed.
func (w *Workspace) kept(path string, _ bool) bool {
	return manifest.IsManifest(path) || filepath.Base(path) == manifest.EnvFileName || w.tellsVariables(path) || w.explicit(path)
}

// explicit reports whether path lies in the folder of a service that says itself
// what is watched.
func (w *Workspace) explicit(path string) bool {
	owner := ownerOf(w.running(), path)
	return owner != nil && len(owner.Watch) > 0
}

// isApplied reports that a path is of what Reload applies.
func (w *Workspace) isApplied(path string) bool {
	return w.tellsManifests(path) || w.tellsVariables(path)
}

// tellsManifests reports that a path is a manifest, or where a folder with one has been.
func (w *Workspace) tellsManifests(path string) bool {
	if manifest.IsManifest(path) {
		return true
	}
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist) && slices.ContainsFunc(w.Manifest().Services, func(s *manifest.Service) bool { return below(s.Dir, path) })
}

func (w *Workspace) running() []*manifest.Service {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.selected
}

// sources are what services are built from beside their own folders.
type sources struct {
	dir     string // of the workspace
	modules []gomod.Module
	recipes map[string]recipe // of the services that are built by one
}

// affected are the services, of those that run, that a change of these files may
// change, each with one of the files: the one in whose folder a file lies, the Go services that are built
// from the module in which it lies, and those whose Dockerfile copies it. The compiler
// then finds those that are really new.
func affected(all, running []*manifest.Service, from sources, paths []string) map[string]string {
	changed := map[string]string{}
	for _, path := range paths {
		if manifest.IsManifest(path) {
			continue // applied by Reload
		}
		owner := ownerOf(all, path)
		for _, s := range running {
			own := owner != nil && s.Dir == owner.Dir // several may live in one folder
			if own && watches(s, path) && !from.leavesOut(s, path) || !own && (reachesOut(s, path) || from.builds(s, owner, path)) {
				changed[s.Name] = path
			}
		}
	}
	return changed
}

// builds reports whether a service, of Go or by a Dockerfile, is built from a file that
// lies in the folder of owner; nil: of none.
func (f sources) builds(s, owner *manifest.Service, path string) bool {
	if s.Go == "" && s.Dockerfile == "" || manual(s) {
		return false
	}
	seen := within(f.dir, path)
	return f.compiles(s, owner, path) || filepath.IsLocal(seen) && f.recipes[s.Name].takes(filepath.ToSlash(seen), owner != nil)
}

// leavesOut reports that the image of a service is made without a file of its folder,
// which no pattern of its watch asks for.
func (f sources) leavesOut(s *manifest.Service, path string) bool {
	made, ok := f.recipes[s.Name]
	return ok && len(s.Watch) == 0 && made.leftOut(filepath.ToSlash(within(f.dir, path)))
}

// compiles reports whether a service is built from the module in which path lies;
// everything is built from what lies in none, such as go.work.
func (f sources) compiles(s, owner *manifest.Service, path string) bool {
	changed, own := moduleOf(f.modules, path), moduleOf(f.modules, s.Dir)
	if changed == nil {
		return owner == nil && goInput(path)
	}
	return own != nil && needs(f.modules, own, changed) && (goInput(path) || embedded(changed.Dir, path))
}

// ownerOf is the service in whose folder path lies, the innermost.
func ownerOf(services []*manifest.Service, path string) *manifest.Service {
	var owner *manifest.Service
	for _, s := range services {
		if below(path, s.Dir) && (owner == nil || len(s.Dir) > len(owner.Dir)) {
			owner = s
		}
	}
	return owner
}

// goInput reports that go build reads files that are called so, of any package.
func goInput(path string) bool {
	base := filepath.Base(path)
	return slices.Contains([]string{".c", ".cc", ".cpp", ".h", ".hpp", ".s", ".S", ".syso"}, filepath.Ext(base)) || strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go") || base == "go.mod" || base == "go.sum" || base == "go.work" || base == "go.work.sum"
}

// manual reports that a save does nothing by itself.
func manual(s *manifest.Service) bool {
	return slices.Equal(s.Watch, []string{"manual"}) || s.Reload == "self"
}

// reachesOut reports that a service names a path outside its folder by what it watches.
func reachesOut(s *manifest.Service, path string) bool {
	return slices.ContainsFunc(s.WatchedOutside(), func(pattern string) bool {
		rel, err := filepath.Rel(s.Dir, path)
		return err == nil && glob.Match(pattern, filepath.ToSlash(rel))
	})
}

// watches reports whether a service is built anew when path changes.
func watches(s *manifest.Service, path string) bool {
	rel, err := filepath.Rel(s.Dir, path)
	if err != nil || manual(s) || tells(s, path) { // which Reload applies
		return false
	}
	if len(s.Watch) > 0 {
		return slices.ContainsFunc(s.Watch, func(pattern string) bool { return glob.Match(pattern, filepath.ToSlash(rel)) })
	}
	if s.Image != "" && s.Go == "" && s.Dockerfile == "" {
		return false // what it runs is made elsewhere
	}
	if s.Go != "" {
		return !strings.HasSuffix(rel, "_test.go") && (!strings.HasSuffix(rel, ".md") || embedded(cmp.Or(gomod.Root(s.Dir), s.Dir), path))
	}
	return true
}
