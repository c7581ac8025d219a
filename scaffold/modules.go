package scaffold

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/modfile"

	"github.com/ebef7166/mesh/templates"
)

// moduleSet is what `go mod tidy` makes of one set of imports.
type moduleSet struct {
	Imports  []string `json:"imports"`
	Direct   []string `json:"direct"`   // module version
	Indirect []string `json:"indirect"` // module version
	Sums     []int    `json:"sums"`     // lines of go.sum, in moduleData
}

// moduleData is templates/modules.json: written by `go test -run TestModules
// -update ./scaffold`, so that a service gets a tidy go.mod without running go.
type moduleData struct {
	Sets []moduleSet `json:"sets"`
	Sums []string    `json:"sums"`
}

// versionData is templates/versions.json: the version of every library that a
// service may import.
type versionData struct {
	Go      string            `json:"go"`
	Modules map[string]string `json:"modules"`
}

var (
	loadModules  = sync.OnceValues(func() (d moduleData, err error) { return d, readJSON("modules.json", &d) })
	loadVersions = sync.OnceValues(func() (d versionData, err error) { return d, readJSON("versions.json", &d) })
)

func readJSON(name string, into any) error {
	data, err := templates.FS.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("embedded %s: %w", name, err)
	}
	return nil
}

// contractsImport stands for the workspace's contracts in a set of imports:
// alone for their messages, with /connect for their services.
const contractsImport = "contracts"

// addModule adds a go.mod and go.sum that fit what files import, unless the
// template brings its own.
func addModule(files []File, s service) ([]File, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(files, func(f File) bool { return f.Path == name })
	}
	isGo := slices.ContainsFunc(files, func(f File) bool { return path.Ext(f.Path) == ".go" })
	if has("go.mod") || !isGo {
		return files, nil
	}
	imports, err := importsOf(files, s.Module, s.Contracts)
	if err != nil {
		return nil, err
	}
	mod, sum, err := moduleFiles(s.Module, s.Contracts, imports)
	if err != nil {
		return nil, err
	}
	files = append(files, File{Path: "go.mod", Data: mod})
	if len(sum) > 0 {
		files = append(files, File{Path: "go.sum", Data: sum})
	}
	return files, nil
}

// importsOf returns the packages that files import from outside the standard
// library and module, sorted; the contracts count as one.
func importsOf(files []File, module, contracts string) ([]string, error) {
	var out []string
	for _, f := range files {
		if path.Ext(f.Path) != ".go" {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.Path, f.Data, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range parsed.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			switch {
			case inside(name, contracts) && strings.HasSuffix(name, "connect"):
				out = append(out, contractsImport+"/connect")
			case inside(name, contracts):
				out = append(out, contractsImport)
			case inside(name, module), !strings.Contains(strings.Split(name, "/")[0], "."):
			default:
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// inside reports whether a package or module lies in module.
func inside(name, module string) bool {
	return module != "" && (name == module || strings.HasPrefix(name, module+"/"))
}

// moduleFiles returns go.mod and go.sum of module, which imports imports.
func moduleFiles(module, contracts string, imports []string) (mod, sum []byte, err error) {
	data, err := loadModules()
	if err != nil {
		return nil, nil, err
	}
	versions, err := loadVersions()
	if err != nil {
		return nil, nil, err
	}
	set, ok := findSet(data, imports)
	if !ok {
		set = untidySet(versions, imports)
	}
	f := new(modfile.File)
	if err := f.AddModuleStmt(module); err != nil {
		return nil, nil, err
	}
	if err := f.AddGoStmt(versions.Go); err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(imports, func(name string) bool { return inside(name, contractsImport) }) {
		set.Direct = append(slices.Clone(set.Direct), contracts+" v0.0.0")
		if err := f.AddReplace(contracts, "", "../../contracts", ""); err != nil {
			return nil, nil, err
		}
	}
	f.SetRequireSeparateIndirect(append(requires(set.Direct, false), requires(set.Indirect, true)...))
	mod, err = f.Format()
	for _, i := range set.Sums {
		sum = append(append(sum, data.Sums[i]...), '\n')
	}
	return mod, sum, err
}

func requires(modules []string, indirect bool) []*modfile.Require {
	var out []*modfile.Require
	for _, m := range modules {
		name, version, _ := strings.Cut(m, " ")
		r := &modfile.Require{Indirect: indirect}
		r.Mod.Path, r.Mod.Version = name, version
		out = append(out, r)
	}
	return out
}

// findSet returns the set made for imports.
func findSet(data moduleData, imports []string) (moduleSet, bool) {
	i := slices.IndexFunc(data.Sets, func(s moduleSet) bool { return slices.Equal(s.Imports, imports) })
	if i < 0 {
		return moduleSet{}, false
	}
	return data.Sets[i], true
}

// untidySet names the modules that hold imports, where no set was made for
// them: `go mod tidy` adds the rest.
func untidySet(versions versionData, imports []string) moduleSet {
	var set moduleSet
	for module, version := range versions.Modules {
		if slices.ContainsFunc(imports, func(name string) bool { return inside(name, module) }) {
			set.Direct = append(set.Direct, module+" "+version)
		}
	}
	slices.Sort(set.Direct)
	return set
}
