package build

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/manifest"
)

// before is what lay in a folder when a build command began, by path. nil knows
// nothing.
type before struct {
	dir   string
	found map[string]string // files to what identifies their content; all else to ""
}

// look reads what lies in a folder; nil where that is too much to be known.
func look(dir string) *before {
	b := &before{dir: dir, found: map[string]string{}}
	err := below(dir, func(path string, d fs.DirEntry) (err error) {
		if len(b.found) > fingerprintFiles {
			return errTooMany
		}
		b.found[path], err = content(dir, path, d)
		return err
	})
	if err != nil {
		return nil
	}
	return b
}

var errTooMany = errors.New("too many files")

// content identifies what a regular file holds.
func content(dir, path string, d fs.DirEntry) (string, error) {
	if !d.Type().IsRegular() {
		return "", nil
	}
	h := sha256.New()
	err := hashFile(h, dir, path, d)
	return string(h.Sum(nil)), err
}

// same reports that a path is what it was.
func (b *before) same(path string) bool {
	if b == nil || !b.covers(path) {
		return false
	}
	was, found := b.found[path]
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return !found
	}
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	is, err := content(b.dir, path, fs.FileInfoToDirEntry(info))
	return err == nil && found && is == was
}

// covers reports whether look would have seen a path.
func (b *before) covers(path string) bool {
	rel, err := filepath.Rel(b.dir, path)
	return err == nil && filepath.IsLocal(rel) && !slices.ContainsFunc(strings.Split(filepath.Dir(rel), string(filepath.Separator)),
		func(name string) bool { return name != "." && uncounted(name) })
}

// Changed are those of paths that are not what they were when the build command of
// a service last began: what a command writes into its own folder, and each time the
// same, is none, and what is saved while it runs is one.
func (b *Builder) Changed(s *manifest.Service, paths []string) []string {
	b.mu.Lock()
	began := b.began[s.Name]
	b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(paths), began.same)
}

func (b *Builder) begin(s *manifest.Service) {
	now := look(s.Dir)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.began == nil {
		b.began = map[string]*before{}
	}
	b.began[s.Name] = now
}
