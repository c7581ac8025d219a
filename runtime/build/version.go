package build

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/glob"
	"github.com/ebef7166/mesh/internal/walk"
	"github.com/ebef7166/mesh/manifest"
)

// programVersion identifies the code of a program: the content part of its Go
// build id, so that the same code has the same version, else a hash.
func programVersion(path string) (string, error) {
	if id := buildID(path); id != "" {
		return id, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:15]), nil
}

// buildID reads the note that the Go linker writes into ELF files
// (cmd/internal/buildid): "action/…/content".
func buildID(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	note := f.Section(".note.go.buildid")
	if note == nil {
		return ""
	}
	data, err := note.Data()
	if err != nil || len(data) < 16 {
		return ""
	}
	id := strings.TrimRight(string(data[16:]), "\x00")
	return id[strings.LastIndexByte(id, '/')+1:]
}

// Bounds of what a fingerprint reads.
const (
	fingerprintFiles = 20_000
	fingerprintBytes = 8 << 20 // of one file; a larger one counts by size and time
)

// fingerprint identifies the files of a service: those below its folder, and those
// elsewhere that its watch names. That is the version of programs of languages that
// mesh does not know. Hidden folders and node_modules do not count, nor the files of
// variables, by which services are told apart when they are started.
func fingerprint(s *manifest.Service) (string, error) {
	h := sha256.New()
	files, variables := 0, s.EnvFiles()
	take := func(path string, d fs.DirEntry) error {
		if !d.Type().IsRegular() || manifest.IsManifest(path) || slices.Contains(variables, path) { // which a plan looks at by itself
			return nil
		}
		if files++; files > fingerprintFiles {
			return fs.SkipAll
		}
		return hashFile(h, s.Dir, path, d)
	}
	err := below(s.Dir, take)
	for _, pattern := range s.WatchedOutside() {
		if err == nil {
			err = named(s.Dir, pattern, take)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), err
}

// named calls see with what a glob names, as seen from dir.
func named(dir, pattern string, see func(path string, d fs.DirEntry) error) error {
	return below(filepath.Join(dir, filepath.FromSlash(glob.Base(pattern))), func(path string, d fs.DirEntry) error {
		rel, err := filepath.Rel(dir, path)
		if err != nil || !glob.Match(pattern, filepath.ToSlash(rel)) {
			return err
		}
		return see(path, d)
	})
}

// below calls see with all that lies below dir and may be read, dir first. Of hidden
// folders and node_modules it sees that they are there alone.
func below(dir string, see func(path string, d fs.DirEntry) error) error {
	return walk.Dir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission):
			return nil // gone meanwhile, or not ours to read
		case err != nil:
			return err
		}
		if err := see(path, d); err != nil {
			return err
		}
		if d.IsDir() && path != dir && uncounted(d.Name()) {
			return fs.SkipDir
		}
		return nil
	})
}

// uncounted are folders that hold nothing of a program's own.
func uncounted(folder string) bool { return strings.HasPrefix(folder, ".") || folder == "node_modules" }

func hashFile(h io.Writer, dir, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return nil // gone meanwhile
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s\x00%d\x00%v\x00", rel, info.Size(), info.Mode())
	if info.Size() > fingerprintBytes {
		fmt.Fprintf(h, "%d", info.ModTime().UnixNano())
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil // gone, or not ours to read
	}
	defer f.Close()
	_, err = io.Copy(h, f)
	return err
}
