package scaffold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/ebef7166/mesh/templates"
)

// InitOptions are the answers that make a workspace.
type InitOptions struct {
	Dir    string // its folder; only looked at
	Name   string // the folder's name unless given
	Module string // the prefix of its modules' paths; example.com/NAME unless given
}

// NewWorkspace returns the files of a new workspace in opts.Dir. Where that
// folder has files already they are mesh.yaml and a line in .gitignore only.
// Nothing is written.
func NewWorkspace(opts InitOptions) ([]File, error) {
	ws, err := initWorkspace(opts)
	if err != nil {
		return nil, err
	}
	if exists(filepath.Join(opts.Dir, "mesh.yaml")) {
		return nil, &ConflictError{Paths: []string{"mesh.yaml (exists)"}}
	}
	versions, err := loadVersions()
	if err != nil {
		return nil, err
	}
	t, err := subTree(templates.FS, "workspace")
	if err != nil {
		return nil, err
	}
	files, err := render(t, struct{ Name, Module, Go string }{ws.Name, ws.module(), versions.Go})
	if err != nil {
		return nil, err
	}
	empty, err := isEmpty(opts.Dir)
	if err != nil {
		return nil, err
	}
	if !empty {
		if files, err = intoExisting(opts.Dir, files); err != nil || opts.Module == "" {
			return files, err
		}
	}
	return append(files, File{Path: "contracts/go.mod", Data: emptyModule(ws, versions)}), nil
}

// emptyModule is the contracts' go.mod before there are contracts. It also
// keeps what the modules of the workspace begin with.
func emptyModule(ws Workspace, versions versionData) []byte {
	return fmt.Appendf(nil, "module %s/contracts\n\ngo %s\n", ws.module(), versions.Go)
}

// initWorkspace checks opts.
func initWorkspace(opts InitOptions) (Workspace, error) {
	ws := Workspace{Dir: opts.Dir, Name: opts.Name, Module: opts.Module}
	if ws.Name == "" {
		abs, err := filepath.Abs(opts.Dir)
		if err != nil {
			return ws, err
		}
		ws.Name = strings.ToLower(filepath.Base(abs))
	}
	if err := CheckName(ws.Name); err != nil {
		return ws, err // its modules' paths are made of it
	}
	return ws, checkModule(ws.module())
}

// intoExisting keeps what goes into a folder that has files.
func intoExisting(dir string, files []File) ([]File, error) {
	var out []File
	for _, f := range files {
		switch f.Path {
		case "mesh.yaml":
			out = append(out, f)
		case ".gitignore":
			f, err := addLine(dir, f, ".mesh/")
			if err != nil {
				return nil, err
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// addLine turns f into the file that is there, with line added if it lacks it.
func addLine(dir string, f File, line string) (File, error) {
	old, err := os.ReadFile(filepath.Join(dir, f.Path))
	if errors.Is(err, fs.ErrNotExist) {
		return File{Path: f.Path, Data: []byte(line + "\n")}, nil
	}
	if err != nil {
		return f, err
	}
	f.Old, f.Data = old, old
	if slices.Contains(strings.Split(strings.ReplaceAll(string(old), "\r\n", "\n"), "\n"), line) {
		return f, nil
	}
	text := string(old)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	f.Data = []byte(text + line + "\n")
	return f, nil
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// isEmpty reports whether dir is missing or holds nothing. A .git does not count.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == ".git" })
	return len(entries) == 0, err
}

// editWork returns go.work with the service's module, and the contracts' if
// there is one, in it.
func editWork(ws Workspace, name string, contracts bool) ([]File, error) {
	uses := []string{"./services/" + name}
	if contracts {
		uses = append(uses, "./contracts")
	}
	return addUses(ws, uses)
}

func addUses(ws Workspace, uses []string) ([]File, error) {
	old, err := os.ReadFile(filepath.Join(ws.Dir, "go.work"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		versions, err := loadVersions()
		if err != nil {
			return nil, err
		}
		data, err := workWith([]byte("go "+versions.Go+"\n"), uses)
		return []File{{Path: "go.work", Data: data}}, err
	case err != nil:
		return nil, err
	}
	data, err := workWith(old, uses)
	return []File{{Path: "go.work", Data: data, Old: old}}, err
}

func workWith(data []byte, uses []string) ([]byte, error) {
	work, err := modfile.ParseWork("go.work", data, nil)
	if err != nil {
		return nil, err
	}
	for _, use := range uses {
		if err := work.AddUse(use, ""); err != nil {
			return nil, err
		}
	}
	work.SortBlocks()
	work.Cleanup()
	return modfile.Format(work.Syntax), nil
}

// contractFiles returns new contracts with their generated code, and the
// contracts' module if there is none yet.
func contractFiles(ctx context.Context, ws Workspace, contract []File) ([]File, error) {
	if len(contract) == 0 {
		return nil, nil
	}
	sources, _, err := readContracts(os.DirFS(ws.Dir))
	if err != nil {
		return nil, fmt.Errorf("reading contracts: %w", err)
	}
	var names []string
	for _, f := range contract {
		name := strings.TrimPrefix(f.Path, "contracts/")
		sources[name], names = string(f.Data), append(names, name)
	}
	code, err := compile(ctx, sources, names, ws.module()+"/contracts")
	if err != nil {
		return nil, err
	}
	module, err := missingModule(os.DirFS(ws.Dir), ws)
	return slices.Concat(contract, code, module), err
}

// missingModule returns go.mod and go.sum of the contracts, unless they are
// there already and require something.
func missingModule(workspace fs.FS, ws Workspace) ([]File, error) {
	versions, err := loadVersions()
	if err != nil {
		return nil, err
	}
	old, err := fs.ReadFile(workspace, "contracts/go.mod")
	if err == nil && !bytes.Equal(old, emptyModule(ws, versions)) {
		return nil, nil
	}
	mod, sum, err := moduleFiles(ws.module()+"/contracts", "", contractImports)
	return []File{{Path: "contracts/go.mod", Data: mod, Old: old}, {Path: "contracts/go.sum", Data: sum}}, err
}

// contractImports is what generated code imports.
var contractImports = []string{
	"connectrpc.com/connect",
	"google.golang.org/protobuf/reflect/protoreflect",
	"google.golang.org/protobuf/runtime/protoimpl",
	"google.golang.org/protobuf/types/known/timestamppb",
}
