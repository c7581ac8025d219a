package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/internal/walk"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// Dockerfile has the engine build the service's image, with the workspace as the
// context, as `docker build -f services/NAME/Dockerfile .` does.
func (e *Engine) Dockerfile(ctx context.Context, s *manifest.Service, dir string, said io.Writer) (runtime.Artifact, error) {
	file, err := filepath.Rel(dir, filepath.Join(s.Dir, s.Dockerfile))
	if err != nil || !filepath.IsLocal(file) {
		return runtime.Artifact{}, fmt.Errorf("it lies outside the workspace %s, which is what the engine gets to see", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		return runtime.Artifact{}, err
	}
	name := e.repository(s.Name) + ":latest"
	_, before := e.api.ImageInspect(ctx, name)
	if err := e.buildImage(ctx, s, dir, filepath.ToSlash(file), name, said); err != nil {
		return runtime.Artifact{}, err
	}
	found, err := e.api.ImageInspect(ctx, name)
	if err != nil {
		return runtime.Artifact{}, e.explain(err)
	}
	version := e.repository(s.Name) + ":" + shortID(found.ID)
	if _, err := e.api.ImageTag(ctx, client.ImageTagOptions{Source: found.ID, Target: version}); err != nil {
		return runtime.Artifact{}, e.explain(err)
	}
	if missing(before) {
		e.brought(name, version)
	}
	e.used(ctx, s.Name, version)
	return e.artifact(s, version, found), nil
}

func (e *Engine) buildImage(ctx context.Context, s *manifest.Service, dir, file, name string, said io.Writer) error {
	ignored, err := readIgnored(dir, file)
	if err != nil {
		return err
	}
	version, err := e.builder(ctx, filepath.Join(dir, file))
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	sent := make(chan struct{})
	go func() { defer close(sent); w.CloseWithError(pack(w, dir, ignored)) }()
	defer func() { r.Close(); <-sent }()
	result, err := e.api.ImageBuild(ctx, r, client.ImageBuildOptions{Dockerfile: file, Tags: []string{name}, Remove: true, ForceRemove: true, Version: version,
		Labels: map[string]string{labelWorkspace: e.owner.Workspace, labelService: s.Name}})
	if err != nil {
		return e.explain(err)
	}
	defer result.Body.Close()
	err = readStream(result.Body, func(text string) { _, _ = io.WriteString(said, text) })
	if err != nil && gone(err) {
		return e.explain(err)
	}
	return err
}

// builder is the engine's own, or BuildKit where the Dockerfile uses what only
// that understands. BuildKit does not pull without a session with the client, so
// what it builds on is pulled first.
func (e *Engine) builder(ctx context.Context, file string) (build.BuilderVersion, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc([]string{"--mount=", "<<", "--link", "--chmod="}, func(sign string) bool { return bytes.Contains(text, []byte(sign)) }) {
		return build.BuilderV1, nil
	}
	for _, image := range basesOf(string(text)) {
		if err := e.ensure(ctx, image, func(string) {}); err != nil {
			return "", err
		}
	}
	return build.BuilderBuildKit, nil
}

var fromPattern = lazyregexp.New(`(?mi)^\s*FROM\s+(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?`)

// basesOf are the images that a Dockerfile builds on, but for those that it names
// by a variable.
func basesOf(text string) (images []string) {
	stages := map[string]bool{"scratch": true}
	for _, m := range fromPattern().FindAllStringSubmatch(text, -1) {
		if !stages[m[1]] && !strings.Contains(m[1], "$") {
			images = append(images, m[1])
		}
		stages[m[2]] = true
	}
	return images
}

// LeftOut reads which paths in the workspace's folder dir, relative to it, an engine does
// not get to see that builds a service of a Dockerfile; none where that cannot be read.
func LeftOut(s *manifest.Service, dir string) func(path string) bool {
	file, err := filepath.Rel(dir, filepath.Join(s.Dir, s.Dockerfile))
	if err != nil {
		return func(string) bool { return false }
	}
	ignored, err := readIgnored(dir, filepath.ToSlash(file))
	return func(path string) bool {
		if err != nil {
			return false // which the build says
		}
		out, err := ignored.MatchesOrParentMatches(path)
		return out && err == nil
	}
}

// readIgnored reads what the context leaves out: Dockerfile.dockerignore beside
// the Dockerfile, or .dockerignore, and what never belongs into one.
func readIgnored(dir, file string) (*patternmatcher.PatternMatcher, error) {
	patterns := []string{".git", ".mesh"}
	for _, name := range []string{file + ".dockerignore", ".dockerignore"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		more, err := ignorefile.ReadAll(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		patterns = append(patterns, more...)
		break
	}
	patterns = append(patterns, "!"+file) // the engine needs it, whatever they say
	return patternmatcher.New(patterns)
}

// pack writes a folder as a tar file.
func pack(w io.Writer, dir string, ignored *patternmatcher.PatternMatcher) error {
	t := tar.NewWriter(w)
	err := walk.Dir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(rel)
		if err != nil {
			return err
		}
		if skip {
			// A later pattern may take something below it back.
			if d.IsDir() && !takenBack(ignored, rel) {
				return fs.SkipDir
			}
			return nil
		}
		return packOne(t, path, filepath.ToSlash(rel), d)
	})
	if err != nil {
		return err
	}
	return t.Close()
}

func takenBack(ignored *patternmatcher.PatternMatcher, dir string) bool {
	for _, p := range ignored.Patterns() {
		if p.Exclusion() && (strings.HasPrefix(p.String(), dir+string(filepath.Separator)) || strings.HasPrefix(p.String(), "*")) {
			return true
		}
	}
	return false
}

// packOne writes one file, folder or link, without the times and owners that
// would make the engine build again.
func packOne(t *tar.Writer, path, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil // a socket or a pipe
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if !info.Mode().IsRegular() {
		return t.WriteHeader(h)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(t, f, h.Size)
	return err
}
