package gomod

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// ImportPath is by what others import the package in a folder: the path of its module,
// and the way from there. Outside of a module it is the folder's name.
func ImportPath(dir string) string {
	root := Root(dir)
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	module := modfile.ModulePath(data)
	if root == "" || err != nil || module == "" {
		return filepath.Base(dir)
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil || !filepath.IsLocal(rel) { // a symbolic link leads there
		real, _ := filepath.EvalSymlinks(dir)
		rel, _ = filepath.Rel(root, real)
	}
	return path.Join(module, filepath.ToSlash(rel))
}

// ProgramName is what go build calls the program of the package with an import path:
// after its last element, or the one before where that is a major version, such as v2
// (go help build; Package.DefaultExecName in cmd/go/internal/load).
func ProgramName(importPath string) string {
	dir, last := path.Split(importPath)
	if dir != "" && majorVersion(last) {
		return path.Base(dir)
	}
	return last
}

// majorVersion reports v2 and higher.
func majorVersion(element string) bool {
	digits, is := strings.CutPrefix(element, "v")
	return is && digits != "" && digits != "1" && digits[0] != '0' && strings.Trim(digits, "0123456789") == ""
}
