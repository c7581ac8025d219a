package workspace

import (
	"slices"

	"github.com/ebef7166/mesh/internal/gomod"
)

// readModules reads the modules of a go.work. What cannot be read is left out:
// go build says what is wrong with it.
func readModules(dir string) []gomod.Module {
	members, _ := gomod.Members(dir)
	var modules []gomod.Module
	for _, at := range members {
		if m, err := gomod.Read(at); err == nil && m.Path != "" {
			modules = append(modules, m)
		}
	}
	return modules
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
		if m.Path == to.Path {
			return true
		}
		for i := range modules {
			if other := &modules[i]; !seen[other.Path] && slices.Contains(m.Requires, other.Path) {
				seen[other.Path] = true
				todo = append(todo, other)
			}
		}
	}
	return false
}
