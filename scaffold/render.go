package scaffold

import (
	"bytes"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// tree is a template: a folder of files to be rendered.
type tree struct {
	fs   fs.FS
	name string // for messages
}

func subTree(all fs.FS, name string) (tree, error) {
	sub, err := fs.Sub(all, name)
	return tree{sub, "template " + name}, err
}

// openTree opens a template of somebody's own. It may not hold symlinks:
// what they point at is not part of the template.
func openTree(dir string) (tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return tree{}, fmt.Errorf("opening the template: %w", err)
	}
	defer root.Close()
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir && !d.IsDir() && !d.Type().IsRegular() {
			return fmt.Errorf("%s: a template holds files and folders only, no %s", p, kindOf(d.Type()))
		}
		return err
	})
	return tree{os.DirFS(dir), dir}, err
}

func kindOf(mode fs.FileMode) string {
	if mode&fs.ModeSymlink != 0 {
		return "symlinks"
	}
	return "devices, pipes or sockets"
}

// render renders every file of t with data: names and contents. Files that
// come out empty are left out.
func render(t tree, data any) ([]File, error) {
	files, err := t.read(func(name string, source []byte) (File, error) { return renderFile(name, source, data) })
	return dropEmpty(files), err
}

// verbatim returns every file of t as it is, empty ones too, without .tmpl.
func verbatim(t tree) ([]File, error) {
	return t.read(func(name string, source []byte) (File, error) {
		return File{Path: strings.TrimSuffix(name, ".tmpl"), Data: source}, nil
	})
}

func dropEmpty(files []File) []File {
	return slices.DeleteFunc(files, func(f File) bool { return len(bytes.TrimSpace(f.Data)) == 0 })
}

// read turns each file of the tree into one to be written.
func (t tree) read(turn func(name string, source []byte) (File, error)) ([]File, error) {
	var files []File
	err := fs.WalkDir(t.fs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Base(name) == ".keep" {
			return err
		}
		source, err := fs.ReadFile(t.fs, name)
		if err != nil {
			return err
		}
		f, err := turn(name, source)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func renderFile(name string, source []byte, data any) (File, error) {
	target, err := expand(name, name, data)
	if err != nil {
		return File{}, err
	}
	f := File{Path: string(target), Data: source}
	if !fs.ValidPath(f.Path) {
		return File{}, fmt.Errorf("%s: becomes %q, which is not a path inside the service", name, f.Path)
	}
	bare, isTemplate := strings.CutSuffix(f.Path, ".tmpl")
	if !isTemplate {
		return f, nil
	}
	f.Path = bare
	if f.Data, err = expand(name, string(source), data); err != nil {
		return File{}, err
	}
	if path.Ext(bare) == ".go" {
		tidy, err := format.Source(f.Data)
		if err != nil {
			return File{}, fmt.Errorf("%s: %w", name, err)
		}
		f.Data = tidy
	} else {
		f.Data = append(bytes.TrimSpace(f.Data), '\n')
	}
	return f, nil
}

func expand(name, source string, data any) ([]byte, error) {
	t, err := template.New(name).Option("missingkey=error").Parse(source)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, data)
	return out.Bytes(), err
}

// overlay lays more over files: of two with one path the later stays.
func overlay(files, more []File) []File {
	for _, f := range more {
		i := slices.IndexFunc(files, func(g File) bool { return g.Path == f.Path })
		if i < 0 {
			files = append(files, f)
		} else {
			files[i] = f
		}
	}
	return files
}

// under moves files into dir.
func under(dir string, files []File) []File {
	for i := range files {
		files[i].Path = path.Join(dir, files[i].Path)
	}
	return files
}
