package scaffold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/mod/modfile"
)

// ErrNoWorkspace is returned where no folder up to the root has a mesh.yaml.
var ErrNoWorkspace = errors.New("no mesh.yaml here or in a folder above")

// Open finds the workspace that dir lies in, its name and what its modules are
// called. The services' manifests are not read, so that one with a mistake does
// not stand in the way of a new one.
func Open(dir string) (Workspace, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Workspace{}, err
	}
	for !exists(filepath.Join(abs, "mesh.yaml")) {
		if abs == filepath.Dir(abs) {
			return Workspace{}, ErrNoWorkspace
		}
		abs = filepath.Dir(abs)
	}
	data, err := os.ReadFile(filepath.Join(abs, "mesh.yaml"))
	if err != nil {
		return Workspace{}, err
	}
	var document struct{ Name string }
	if err := yaml.Unmarshal(data, &document); err != nil {
		return Workspace{}, fmt.Errorf("mesh.yaml: %w", err)
	}
	return Workspace{Dir: abs, Name: document.Name, Module: modulePrefix(abs)}, nil
}

// modulePrefix finds out from the modules that are there what the others begin
// with; it is empty when there are none.
func modulePrefix(dir string) string {
	if prefix, ok := strings.CutSuffix(moduleOf(filepath.Join(dir, "contracts")), "/contracts"); ok {
		return prefix
	}
	services, _ := filepath.Glob(filepath.Join(dir, "services", "*"))
	slices.Sort(services)
	for _, service := range services {
		if prefix, ok := strings.CutSuffix(moduleOf(service), "/services/"+filepath.Base(service)); ok {
			return prefix
		}
	}
	return moduleOf(dir)
}

// moduleOf returns the path of the module in dir, empty when there is none.
func moduleOf(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return ""
	}
	return modfile.ModulePath(data)
}
