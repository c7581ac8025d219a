// Package adopt makes manifests for services that exist, from what other tools
// are told of them. It reads their files, writes nothing, and says with the place
// what it could not translate.
package adopt

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/scaffold"
)

// Result is a workspace made of another tool's files.
type Result struct {
	Name     string
	Gateway  string                       // address; "" for the default
	Services map[string]*manifest.Service // by name; their folders are relative to the workspace's
	Notes    []manifest.Problem           // what could not be translated, sorted by place

	from []string // the files, as messages name them
}

func (r *Result) note(p manifest.Problem) { r.Notes = append(r.Notes, p) }

// Files are what to write into the workspace's folder: one mesh.yaml with a map
// of services, so that nothing has to be put into the services' own folders.
func (r *Result) Files() ([]scaffold.File, error) {
	data, err := r.manifest()
	return []scaffold.File{{Path: manifest.WorkspaceFile, Data: data}}, err
}

// document is mesh.yaml, in the order in which a person reads it.
type document struct {
	Version  int               `yaml:"version"`
	Name     string            `yaml:"name"`
	Gateway  *manifest.Gateway `yaml:"gateway,omitempty"`
	Services yaml.MapSlice     `yaml:"services"`
}

func (r *Result) manifest() ([]byte, error) {
	doc := document{Version: 1, Name: r.Name}
	if r.Gateway != "" {
		doc.Gateway = &manifest.Gateway{Address: r.Gateway}
	}
	for _, name := range r.names() {
		doc.Services = append(doc.Services, yaml.MapItem{Key: name, Value: r.Services[name]})
	}
	data, err := yaml.MarshalWithOptions(doc, yaml.IndentSequence(true))
	head := "# Made by mesh import from " + strings.Join(r.from, ", ") + "; from here on it is yours.\n"
	return append([]byte(head), data...), err
}

func (r *Result) names() []string {
	var names []string
	for name := range r.Services {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (r *Result) sortNotes() {
	slices.SortStableFunc(r.Notes, func(a, b manifest.Problem) int {
		if a.File != b.File {
			return slices.Index(r.from, a.File) - slices.Index(r.from, b.File)
		}
		return a.Line - b.Line
	})
	r.Notes = slices.Compact(r.Notes)
}

var notInNames = lazyregexp.New(`[^a-z0-9]+`)

// usable makes a name for a service or a workspace out of one of another tool's.
func usable(name string) string {
	name = strings.Trim(notInNames().ReplaceAllString(strings.ToLower(name), "-"), "-")
	if name == "" || name[0] < 'a' {
		name = "app-" + name
	}
	return strings.Trim(name[:min(len(name), 40)], "-")
}

// free is name, or name with a number where another service has it.
func (r *Result) free(name string) string {
	for n, try := 2, name; ; n++ {
		if r.Services[try] == nil {
			return try
		}
		try = fmt.Sprintf("%s-%d", name, n)
	}
}

// add takes a service in under a name that mesh can use, called or one like it.
func (r *Result) add(name, called string, s *manifest.Service, at manifest.Problem) string {
	called = r.free(called)
	if called != name {
		at.Message = fmt.Sprintf("%s is called %s here, as a name for a service of mesh", name, called)
		r.note(at)
	}
	r.Services[called] = s
	return called
}

// workspaceName is the name of a workspace in dir.
func workspaceName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "app"
	}
	return usable(filepath.Base(abs))
}

// below is path as it is written in a manifest of the folder dir: relative to it,
// with slashes; a path elsewhere on the machine stays absolute.
func below(dir, path string) string {
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(absDir, abs)
	if err != nil {
		return filepath.ToSlash(abs)
	}
	return filepath.ToSlash(rel)
}
