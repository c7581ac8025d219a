package manifest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Load reads the workspace in dir, which holds mesh.yaml, and every service it
// names. The error is Problems, all of them at once, or says that there is no
// workspace (ErrNoWorkspace).
func Load(dir string) (*Workspace, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &loader{dir: dir, faulty: map[string]bool{}, ws: &Workspace{Dir: dir, byName: map[string]*Service{}}}
	if err := l.workspace(); err != nil {
		return nil, err
	}
	l.services()
	l.check()
	return l.ws, l.problems.orNil()
}

// loader gathers problems while a workspace is read.
type loader struct {
	dir      string
	doc      Document
	source   *source
	ws       *Workspace
	problems Problems
	partial  bool            // a service was not understood at all, so a name may be missing
	doubtful bool            // what holds for all services was not understood
	faulty   map[string]bool // services of mesh.yaml with mistakes

	over map[string]*Service // of mesh.local.yaml, for manifests in folders of their own
}

// add takes the problems of a manifest that was not understood at all.
func (l *loader) add(err error) {
	var list Problems
	if errors.As(err, &list) {
		l.problems, l.partial = append(l.problems, list...), true
	} else if err != nil {
		l.problems = append(l.problems, Problem{File: WorkspaceFile, Message: err.Error()})
	}
}

// doubt notes what cannot be known of the services after mistakes in mesh.yaml.
func (l *loader) doubt() {
	for _, path := range l.source.dropped {
		var key string
		if len(path) > 0 {
			key = nearest(path[0].(string), []string{"services", "defaults"})
		}
		switch {
		case len(path) == 0:
			l.partial, l.doubtful = true, true
		case len(path) == 3:
			l.faulty[path[1].(string)] = true
		case key == "services":
			l.partial = true
		case key == "defaults":
			l.doubtful = true
		}
	}
}

func (l *loader) workspace() error {
	path := filepath.Join(l.dir, WorkspaceFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return errors.Join(ErrNoWorkspace, err)
	}
	var err error
	if l.source, err = readSource(path, WorkspaceFile); err != nil {
		return err
	}
	l.problems = l.source.decode(&l.doc, "version", "name")
	l.doubt()
	if err := l.local(); err != nil {
		l.add(err)
		l.doubtful = true
	}
	l.ws.Name, l.ws.Gateway = l.doc.Name, l.doc.Gateway
	l.ws.Gateway.applyDefaults(l.source, l.dir)
	l.ws.Identity = l.doc.Identity
	return nil
}

// local lays mesh.local.yaml over mesh.yaml: maps are merged, lists and values
// replaced. One that says nothing, since all of it is commented out, lays nothing.
func (l *loader) local() error {
	path := filepath.Join(l.dir, LocalFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	local, err := readSource(path, LocalFile)
	if errors.As(err, new(emptySource)) {
		return nil
	}
	if err != nil {
		return err
	}
	overlay := Document{}
	if problems := local.decode(&overlay); problems != nil {
		return problems.orNil()
	}
	if l.doc.Services.Inline == nil {
		l.over, overlay.Services.Inline = overlay.Services.Inline, nil
	}
	overlayStruct(&l.doc, &overlay)
	l.source.over = local
	return nil
}

func (l *loader) services() {
	if l.doc.Services.Inline != nil {
		l.inline(l.doc.Services.Inline)
		return
	}
	globs := l.doc.Services.Globs
	if globs == nil {
		globs = []string{"services/*"}
	}
	for i, glob := range globs {
		l.glob(i, glob)
	}
	if !l.partial {
		l.inline(l.over) // those that no folder has
	}
}

func (l *loader) glob(i int, glob string) {
	folders, err := filepath.Glob(filepath.Join(l.dir, filepath.FromSlash(glob)))
	if err != nil {
		l.problems = append(l.problems, l.source.problem([]any{"services", i}, "%q is no glob: %v", glob, err))
	}
	found := false
	for _, folder := range folders {
		path := filepath.Join(folder, ServiceFile)
		// A folder that cannot be read is told; one without a manifest is none of ours.
		if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			found = true
			l.file(path)
		}
	}
	switch {
	case found || err != nil:
	case !strings.ContainsAny(glob, "*?["):
		l.problems = append(l.problems, l.source.problem([]any{"services", i}, "no %s in %s", ServiceFile, glob))
	case l.doc.Services.Globs != nil: // a new workspace has none yet
		l.ws.Warnings = append(l.ws.Warnings, l.source.problem([]any{"services", i}, "no folder that matches %s has a %s", glob, ServiceFile))
	}
}

func (l *loader) file(path string) {
	name, err := filepath.Rel(l.dir, path)
	if err != nil {
		name = path
	}
	src, err := readSource(path, filepath.ToSlash(name))
	if err != nil {
		l.add(err)
		return
	}
	service := &Service{source: src}
	problems := src.decode(service, "version", "name")
	if problems != nil && service.Name == "" {
		l.add(problems)
		return
	}
	service.faulty = problems != nil
	l.problems = append(l.problems, problems...)
	if over := l.over[service.Name]; over != nil {
		delete(l.over, service.Name)
		overlayStruct(service, over)
		src.over = l.source.over.part("services", service.Name)
	}
	if service.Dir != "" {
		l.problems = append(l.problems, src.problemKey([]any{"dir"}, "dir is for services written in %s; this one lives where its file is", WorkspaceFile))
	}
	service.Dir = filepath.Dir(path)
	l.addService(service)
}

// inline takes the services that mesh.yaml holds itself.
func (l *loader) inline(services map[string]*Service) {
	for name, service := range services {
		if service == nil {
			service = &Service{}
		}
		service.source, service.base, service.faulty = l.source, []any{"services", name}, l.faulty[name]
		if service.Name == "" {
			service.Name = name
		}
		if service.Dir == "" {
			service.Dir = "."
		}
		written := service.Dir
		if !filepath.IsAbs(service.Dir) {
			service.Dir = filepath.Join(l.dir, filepath.FromSlash(service.Dir))
		}
		if info, err := os.Stat(service.Dir); err != nil || !info.IsDir() {
			l.problems = append(l.problems, service.problem([]any{"dir"}, "no such folder: %s", written))
		}
		l.addService(service)
	}
}

func (l *loader) addService(s *Service) {
	if other := l.ws.byName[s.Name]; other != nil {
		l.problems = append(l.problems, s.problem([]any{"name"}, "a service %q exists already, at %s", s.Name, other.source.position(other.path("name"))))
		return
	}
	l.defaults(s)
	s.faulty = s.faulty || l.doubtful
	s.applyDefaults(l.ws.Gateway, l.doc.Databases)
	l.ws.byName[s.Name] = s
	l.ws.Services = append(l.ws.Services, s)
	slices.SortFunc(l.ws.Services, func(a, b *Service) int { return strings.Compare(a.Name, b.Name) })
}

// defaults fills in what the workspace says of all services. A task runs once,
// however many others do.
func (l *loader) defaults(s *Service) {
	if l.doc.Defaults == nil {
		return
	}
	replicas := s.Replicas
	if fillStruct(s, l.doc.Defaults); s.Kind == KindTask {
		s.Replicas = replicas
	}
}

// path is where a part of the service stands in its source.
func (s *Service) path(steps ...any) []any { return append(slices.Clone(s.base), steps...) }

func (s *Service) problem(path []any, format string, args ...any) Problem {
	return s.source.problem(s.path(path...), format, args...)
}
