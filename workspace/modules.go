package workspace

import (
	gobuild "go/build"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/gomod"
	"github.com/ebef7166/mesh/manifest"
)

// readModules reads the modules that services are built from: those of the go.work
// in dir and of others that services elsewhere lie in, their own, and all that these
// replace by a folder. What cannot be read is left out: go build says what is wrong
// with it.
func readModules(dir string, services []*manifest.Service) []gomod.Module {
	works, todo := [][]string{}, []string{}
	enter := func(work string) {
		members, _ := gomod.Members(work)
		works = append(works, members)
		todo = slices.Concat(todo, members, gomod.WorkReplaced(work))
	}
	enter(dir)
	for _, s := range services {
		if s.Go == "" || slices.ContainsFunc(works, func(members []string) bool { return memberOf(s.Dir, members) }) {
			continue
		}
		if work := gomod.WorkOf(s.Dir); work != "" {
			enter(work)
			continue
		}
		todo = append(todo, gomod.Root(s.Dir))
	}
	var modules []gomod.Module
	seen := map[string]bool{"": true}
	for ; len(todo) > 0; todo = todo[1:] {
		if seen[todo[0]] {
			continue
		}
		seen[todo[0]] = true
		if m, err := gomod.Read(todo[0]); err == nil && m.Path != "" {
			modules = append(modules, m)
			todo = append(todo, m.Replaced...)
		}
	}
	for _, members := range works {
		imply(modules, members, services)
	}
	return modules
}

func memberOf(path string, members []string) bool {
	return slices.ContainsFunc(members, func(member string) bool { return below(path, member) })
}

// imply adds what a go.work lets its members import without a word in their go.mod:
// the members that no go.mod requires. Those that hold a service are left out, which
// are programs and not for others.
func imply(modules []gomod.Module, members []string, services []*manifest.Service) {
	var implied []string
	for _, m := range modules {
		requires := func(other gomod.Module) bool { return slices.Contains(other.Requires, m.Path) }
		holds := func(s *manifest.Service) bool { return below(s.Dir, m.Dir) }
		if slices.Contains(members, m.Dir) && !slices.ContainsFunc(modules, requires) && !slices.ContainsFunc(services, holds) {
			implied = append(implied, m.Path)
		}
	}
	for i := range modules {
		if slices.Contains(members, modules[i].Dir) {
			modules[i].Requires = append(modules[i].Requires, implied...)
		}
	}
}

// outerModules are the folders of the modules outside dir that some Go service is
// built from.
func outerModules(dir string, modules []gomod.Module, services []*manifest.Service) []string {
	var dirs []string
	for i := range modules {
		m := &modules[i]
		if !below(m.Dir, dir) && slices.ContainsFunc(services, func(s *manifest.Service) bool { return builtFrom(s, modules, m) }) {
			dirs = append(dirs, m.Dir)
		}
	}
	return dirs
}

func builtFrom(s *manifest.Service, modules []gomod.Module, m *gomod.Module) bool {
	own := moduleOf(modules, s.Dir)
	return s.Go != "" && own != nil && needs(modules, own, m)
}

// moduleOf is the module in whose folder path lies, the innermost; nil: none.
func moduleOf(modules []gomod.Module, path string) *gomod.Module {
	var found *gomod.Module
	for i := range modules {
		if m := &modules[i]; below(path, m.Dir) && (found == nil || len(m.Dir) > len(found.Dir)) {
			found = m
		}
	}
	return found
}

// needs reports whether from is to, or requires it, directly or not.
func needs(modules []gomod.Module, from, to *gomod.Module) bool {
	seen, todo := map[string]bool{}, []*gomod.Module{from}
	for len(todo) > 0 {
		m := todo[0]
		todo = todo[1:]
		if m.Dir == to.Dir {
			return true
		}
		for i := range modules {
			if other := &modules[i]; !seen[other.Dir] && (slices.Contains(m.Requires, other.Path) || slices.Contains(m.Replaced, other.Dir)) {
				seen[other.Dir] = true
				todo = append(todo, other)
			}
		}
	}
	return false
}

// embedded reports that a Go package of the module in a folder takes in a file by go:embed.
func embedded(module, file string) bool {
	for dir := filepath.Dir(file); below(dir, module); dir = filepath.Dir(dir) {
		p, _ := gobuild.ImportDir(dir, 0) // what is wrong with it, go build will say
		rel := within(dir, file)
		if slices.ContainsFunc(p.EmbedPatterns, func(pattern string) bool { return covers(strings.TrimPrefix(pattern, "all:"), filepath.ToSlash(rel)) }) {
			return true
		}
		if dir == module {
			break
		}
	}
	return false
}
