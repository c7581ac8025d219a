package build

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/gomod"
	"github.com/ebef7166/mesh/internal/walk"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// inputs identifies all that go build reads for this round: its environment, the
// go command, and every file of the modules that can be changed here, by size
// and time. What they require from elsewhere is fixed by go.sum. It is "" where
// that cannot be said, and then never equal to what was.
func (r *round) inputs() string {
	h := sha256.New()
	if !hashGo(h) {
		return ""
	}
	fmt.Fprintln(h, r.dir, r.work, r.target.env())
	for _, dir := range r.modules() {
		if err := hashTree(h, dir); err != nil {
			return ""
		}
	}
	for _, name := range []string{"go.work", "go.work.sum"} {
		hashStat(h, filepath.Join(r.dir, name))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// hashGo takes in the go command and what it is told by the environment.
func hashGo(h hash.Hash) bool {
	path, err := exec.LookPath("go")
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	hashStat(h, path)
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return !slices.ContainsFunc([]string{"GO", "CGO_", "CC=", "CXX=", "PKG_CONFIG"}, func(prefix string) bool { return strings.HasPrefix(entry, prefix) })
	})
	slices.Sort(env)
	fmt.Fprintln(h, strings.Join(env, "\x00"))
	if config, err := os.UserConfigDir(); err == nil {
		hashStat(h, filepath.Join(config, "go", "env"))
	}
	return true
}

// modules are the folders of the round's modules and of those that they replace
// by a folder, sorted.
func (r *round) modules() []string {
	todo := []string{}
	if r.work != "off" {
		todo = append(membersOf(r.dir), gomod.WorkReplaced(r.dir)...)
	} else {
		for _, s := range r.services {
			todo = append(todo, cmp.Or(gomod.Root(s.Dir), s.Dir)) // one module may hold many services
		}
	}
	found := map[string]bool{}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		if !found[dir] {
			found[dir] = true
			module, _ := gomod.Read(dir) // what cannot be read, go build will tell
			todo = append(todo, module.Replaced...)
		}
	}
	var dirs []string
	for dir := range found {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}

// hashTree takes in the files below dir, those in hidden folders too, which a program
// may embed; not what version control and mesh keep there.
func hashTree(h hash.Hash, dir string) error {
	return walk.Dir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case d.IsDir() && path != dir && unread(d.Name()):
			return fs.SkipDir
		case !d.IsDir():
			hashStat(h, path)
		}
		return nil
	})
}

// unread are folders of which go build reads nothing.
func unread(folder string) bool {
	return slices.Contains([]string{".git", ".hg", ".svn", ".jj", ".mesh", "node_modules"}, folder)
}

func hashStat(h hash.Hash, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return // no such file, which is an input too
	}
	fmt.Fprintln(h, path, info.Size(), info.Mode(), info.ModTime().UnixNano())
}

// known reports the services whose inputs are those of their last build, and
// returns the others.
func (r *round) known(inputs string) []*manifest.Service {
	return slices.DeleteFunc(slices.Clone(r.services), func(s *manifest.Service) bool {
		data, err := os.ReadFile(r.inputsFile(s))
		built, version, _ := strings.Cut(string(data), " ")
		if err != nil || inputs == "" || built != inputs {
			return false
		}
		path := filepath.Join(r.Bin, s.Name, version)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return false
		}
		r.report(s.Name, runtime.Artifact{Version: version, Argv: []string{path}}, nil)
		return true
	})
}

// remember writes down what a program was built from. A failure costs a build.
func (r *round) remember(s *manifest.Service, inputs, version string) {
	_ = os.WriteFile(r.inputsFile(s), []byte(inputs+" "+version), 0o600)
}

func (r *round) inputsFile(s *manifest.Service) string {
	return filepath.Join(r.Bin, "."+s.Name+".inputs")
}
