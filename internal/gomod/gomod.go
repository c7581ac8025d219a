// Package gomod reads which modules a go.work names and what they need (the Go
// modules reference, "go.mod files" and "Workspaces").
package gomod

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/modfile"
)

// Module is a Go module in a folder.
type Module struct {
	Dir      string   // absolute, where that of Read was
	Path     string   // by which others import it
	Requires []string // paths of modules
	Replaced []string // folders that it uses in place of modules, absolute like Dir
}

// Members are the folders of the modules of dir's go.work. Without a go.work
// there are none; the error is for one that cannot be read.
func Members(dir string) ([]string, error) {
	work, err := readWork(dir)
	if err != nil || work == nil {
		return nil, err
	}
	dirs := make([]string, len(work.Use))
	for i, use := range work.Use {
		dirs[i] = Absolute(dir, use.Path)
	}
	return dirs, nil
}

// WorkOf is the folder of the go.work by which the go command builds what lies in dir:
// the nearest above it, where it names dir's module; "" where none does.
func WorkOf(dir string) string {
	work, module := nearest(dir, "go.work"), Root(dir)
	if members, err := Members(work); work == "" || err != nil || !slices.ContainsFunc(members, func(member string) bool { return same(member, module) }) {
		return ""
	}
	return work
}

// WorkReplaced are the folders that dir's go.work uses in place of modules; none
// where it cannot be read.
func WorkReplaced(dir string) []string {
	work, err := readWork(dir)
	if err != nil || work == nil {
		return nil
	}
	return replaced(dir, work.Replace)
}

// readWork is dir's go.work; nil without one.
func readWork(dir string) (*modfile.WorkFile, error) {
	path := filepath.Join(dir, "go.work")
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return modfile.ParseWork(path, data, nil)
}

// replaced are the folders, absolute like dir, that stand for modules.
func replaced(dir string, replacements []*modfile.Replace) (dirs []string) {
	for _, r := range replacements {
		if modfile.IsDirectoryPath(r.New.Path) {
			dirs = append(dirs, Absolute(dir, r.New.Path))
		}
	}
	return dirs
}

// Read reads the go.mod of a folder.
func Read(dir string) (Module, error) {
	path := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return Module{}, err
	}
	file, err := modfile.Parse(path, data, nil)
	if err != nil {
		file, err = modfile.ParseLax(path, data, nil) // of a newer Go; this one takes no replace
	}
	if err != nil {
		return Module{}, err
	}
	m := Module{Dir: dir, Replaced: replaced(dir, file.Replace)}
	if file.Module != nil {
		m.Path = file.Module.Mod.Path
	}
	for _, r := range file.Require {
		m.Requires = append(m.Requires, r.Mod.Path)
	}
	return m, nil
}

// Root is the folder of the module that dir lies in: dir, or the nearest above it
// that has a go.mod, as the go command looks for it; "" where none has. It is
// spelled as dir is, unless a symbolic link makes another folder the one above.
func Root(dir string) string {
	return nearest(dir, "go.mod")
}

func nearest(dir, name string) string {
	found := above(dir, name)
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || real == dir {
		return found
	}
	if is := above(real, name); !same(is, found) {
		return is
	}
	return found
}

// above is dir or the nearest folder above it with a file called so; "" is none. One
// in the folder for temporary files is none, as for the go command.
func above(dir, name string) string {
	for {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
			if dir == filepath.Clean(os.TempDir()) {
				return ""
			}
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// Absolute is a path of a go.work or go.mod in base.
func Absolute(base, path string) string {
	at := filepath.FromSlash(path)
	if filepath.IsAbs(at) {
		return filepath.Clean(at)
	}
	return filepath.Join(base, at)
}
