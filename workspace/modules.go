package workspace

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/modfile"
)

// module is a Go module of the go.work.
type module struct {
	dir      string // absolute
	path     string
	requires []string // paths of modules
}

// readModules reads the modules of a go.work. What cannot be read is left out:
// go build says what is wrong with it.
func readModules(dir string) []module {
	path := filepath.Join(dir, "go.work")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	work, err := modfile.ParseWork(path, data, nil)
	if err != nil {
		return nil
	}
	var modules []module
	for _, use := range work.Use {
		at := filepath.FromSlash(use.Path)
		if !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		if m, ok := readModule(at); ok {
			modules = append(modules, m)
		}
	}
	return modules
}

func readModule(dir string) (module, bool) {
	path := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return module{}, false
	}
	file, err := modfile.ParseLax(path, data, nil)
	if err != nil || file.Module == nil {
		return module{}, false
	}
	m := module{dir: dir, path: file.Module.Mod.Path}
	for _, r := range file.Require {
		m.requires = append(m.requires, r.Mod.Path)
	}
	return m, true
}

// moduleOf is the module in whose folder path lies, the innermost; nil: none.
func moduleOf(modules []module, path string) *module {
	var found *module
	for i := range modules {
		if m := &modules[i]; below(path, m.dir) && (found == nil || len(m.dir) > len(found.dir)) {
			found = m
		}
	}
	return found
}

// needs reports whether from is to, or requires it, directly or not.
func needs(modules []module, from, to *module) bool {
	seen, todo := map[string]bool{}, []*module{from}
	for len(todo) > 0 {
		m := todo[0]
		todo = todo[1:]
		if m.path == to.path {
			return true
		}
		for i := range modules {
			if other := &modules[i]; !seen[other.path] && slices.Contains(m.requires, other.path) {
				seen[other.path] = true
				todo = append(todo, other)
			}
		}
	}
	return false
}
