package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/mod/modfile"

	"github.com/ebef7166/mesh/internal/dotenv"
	"github.com/ebef7166/mesh/internal/glob"
)

// files holds what a service's manifest names against what is there.
func (c *checker) files() {
	if !isDir(c.s.Dir) {
		return // said already
	}
	c.envFiles()
	c.dockerfile()
	if c.s.Go != "" && c.s.Run.Empty() && c.s.Build.Empty() {
		c.goPackage()
	}
	c.watch()
}

// watch holds that what is to be watched can be.
func (c *checker) watch() {
	for i, pattern := range c.s.Watch {
		for part := range strings.SplitSeq(pattern, "**") {
			if _, err := path.Match(part, ""); err != nil {
				c.fail([]any{"watch", i}, "%q is no glob: a [ is not closed, or a \\ stands at the end", pattern)
			}
		}
		if glob.Leaves(pattern) && !c.inWorkspace(glob.Base(pattern)) {
			c.fail([]any{"watch", i}, "%q names files outside both the service's folder and the workspace: these are not watched", pattern)
		}
	}
}

// inWorkspace reports that what the service calls name lies in the workspace.
func (c *checker) inWorkspace(name string) bool {
	rel, err := filepath.Rel(c.dir, filepath.Join(c.s.Dir, filepath.FromSlash(name)))
	return err == nil && !path.IsAbs(name) && filepath.IsLocal(rel)
}

// WatchedOutside are those of the globs in watch that name files outside the
// service's folder, as seen from there and in their shortest form.
func (s *Service) WatchedOutside() []string {
	var outside []string
	for _, pattern := range s.Watch {
		if glob.Leaves(pattern) {
			outside = append(outside, path.Clean(pattern))
		}
	}
	return outside
}

// EnvFileName is the file of variables that is read where it is there.
const EnvFileName = ".env"

// EnvFiles are the files of variables in the service's own folder, in the order in
// which they are read: .env first, which need not be there. A service with an empty
// env_file has none, and is not told the workspace's either.
func (s *Service) EnvFiles() []string {
	if s.EnvFile != nil && len(s.EnvFile) == 0 {
		return nil
	}
	files := []string{filepath.Join(s.Dir, EnvFileName)}
	for _, name := range s.EnvFile {
		files = append(files, s.variables(name))
	}
	return files
}

// variables is where a file of env_file is, whose name may be absolute.
func (s *Service) variables(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Dir, name)
}

// UnreadFile says where in which file of variables something is wrong: until somebody
// mends it, nobody can be told what stands there.
type UnreadFile struct{ Err error }

func (e *UnreadFile) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *UnreadFile) Unwrap() error { return e.Err }

// FileVariables are the variables that files tell a service, the later file's over the
// earlier one's: .env of the workspace, .env of the service, env_file. They are nil
// beside an error only: an *UnreadFile, or one that may pass.
func (ws *Workspace) FileVariables(s *Service) (map[string]string, error) {
	own := s.EnvFiles()
	all := map[string]string{}
	if len(own) == 0 {
		return all, nil
	}
	for i, path := range append([]string{filepath.Join(ws.Dir, EnvFileName)}, own...) {
		values, err := dotenv.Read(path)
		switch {
		case os.IsNotExist(err) && i < 2: // the two that need not be there
		case os.IsNotExist(err):
			return nil, &UnreadFile{fmt.Errorf("env_file: %w", err)}
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EIO): // it may pass
			return nil, err
		case err != nil:
			return nil, &UnreadFile{err}
		}
		maps.Copy(all, values)
	}
	return all, nil
}

func (c *checker) envFiles() {
	for i, name := range c.s.EnvFile {
		c.file([]any{"env_file", i}, name, c.s.variables(name))
	}
}

func (c *checker) dockerfile() {
	if c.s.Dockerfile != "" {
		c.file([]any{"dockerfile"}, c.s.Dockerfile, filepath.Join(c.s.Dir, c.s.Dockerfile))
	}
}

// file holds that what the service calls name is a file, at that place.
func (c *checker) file(path []any, name, at string) {
	info, err := os.Stat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.fail(path, "no such file: %s, seen from %s", name, c.place(c.s.Dir))
	case err != nil:
		c.fail(path, "%s: %s", name, readFailure(err))
	case info.IsDir():
		c.fail(path, "%s is a folder", name)
	}
}

// goPackage holds that the package is there, and in the module of the service's
// folder: from elsewhere `go build` would not find it.
func (c *checker) goPackage() {
	at := filepath.Join(c.s.Dir, filepath.FromSlash(c.s.Go))
	own := moduleOf(c.s.Dir)
	switch {
	case !isDir(at):
		c.fail([]any{"go"}, "no such package: %s, seen from %s", c.s.Go, c.place(c.s.Dir))
	case own == "":
		c.fail([]any{"go"}, "no go.mod in %s or above it: go mod init makes one", c.place(c.s.Dir))
	case moduleOf(at) != own:
		c.fail([]any{"go"}, "%s is not in the service's own module, which is in %s", c.s.Go, c.place(own))
	}
}

// place is a folder as messages name it.
func (l *loader) place(dir string) string {
	rel, err := filepath.Rel(l.dir, dir)
	switch {
	case err != nil:
		return dir
	case rel == ".":
		return "the workspace's folder"
	}
	return filepath.ToSlash(rel)
}

// moduleOf is the nearest folder with a go.mod, from dir upwards; "" for none.
func moduleOf(dir string) string {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// checkWork finds modules of the go.work that are gone: with one of them no Go
// service builds any more.
func (l *loader) checkWork() {
	if !slices.ContainsFunc(l.ws.Services, func(s *Service) bool { return s.Go != "" }) {
		return
	}
	data, err := os.ReadFile(filepath.Join(l.dir, "go.work"))
	if err != nil {
		return // services need none
	}
	work, err := modfile.ParseWork("go.work", data, nil)
	if err != nil {
		return // go build says what is wrong with it
	}
	for _, use := range work.Use {
		dir := use.Path
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(l.dir, filepath.FromSlash(dir))
		}
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); errors.Is(err, fs.ErrNotExist) {
			at := use.Syntax.Start
			l.problems = append(l.problems, Problem{File: "go.work", Line: at.Line, Column: at.LineRune,
				Message: "there is no module in " + use.Path + " any more: remove this line"})
		}
	}
}
