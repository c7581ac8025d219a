package container

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// imageCache is what is known of images while mesh runs.
type imageCache struct {
	mu     sync.Mutex
	base   *layer
	recent map[string][]string // images by service, the newest last
	loaded []string            // those that the engine did not have before
	ports  map[string]int      // the one port that a service's image exposes
}

// Program makes an image of a static Linux program and gives it to the engine.
// The image is named by its content: one that the engine has is not sent again.
// goroot finds the Go installation whose time zones the image holds.
func (e *Engine) Program(ctx context.Context, s *manifest.Service, file string, goroot func(context.Context) string) (image string, err error) {
	base, err := e.base(ctx, goroot)
	if err != nil {
		return "", err
	}
	program, err := programLayer(s.Name, file)
	if err != nil {
		return "", err
	}
	i := e.newImage(s, base, program)
	if _, err := e.api.ImageInspect(ctx, i.name); missing(err) {
		err = e.load(ctx, i)
		if err != nil {
			return "", fmt.Errorf("load the image: %w", e.explain(err))
		}
		e.brought(i.name)
	} else if err != nil {
		return "", e.explain(err)
	}
	e.used(ctx, s.Name, i.name)
	return i.name, nil
}

func (e *Engine) base(ctx context.Context, goroot func(context.Context) string) (layer, error) {
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	if e.images.base == nil {
		base, err := baseLayer(goroot(ctx))
		if err != nil {
			return layer{}, err
		}
		e.images.base = &base
	}
	return *e.images.base, nil
}

// image is one in the form that `docker load` takes.
type image struct {
	name   string
	config []byte
	id     string // hex of the SHA-256 of config
	layers []layer
}

func (e *Engine) newImage(s *manifest.Service, layers ...layer) *image {
	config := map[string]any{
		"architecture": e.arch, "os": "linux", "created": time.Unix(0, 0).UTC(),
		"config": ocispec.ImageConfig{User: fmt.Sprintf("%d:%d", Nobody, Nobody), Entrypoint: []string{path.Join("/", programs, s.Name)}, WorkingDir: "/",
			Env:    []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/nonroot"},
			Labels: map[string]string{labelWorkspace: e.owner.Workspace, labelService: s.Name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids(layers)},
	}
	data, err := json.Marshal(config)
	if err != nil {
		panic(fmt.Sprintf("container: an image configuration that is no JSON: %v", err))
	}
	sum := sha256.Sum256(data)
	i := &image{config: data, id: hex.EncodeToString(sum[:]), layers: layers}
	i.name = e.repository(s.Name) + ":" + i.id[:16]
	return i
}

func (e *Engine) repository(service string) string {
	return "mesh/" + strings.Trim(e.owner.slug()+"-"+service, "-")
}

func ids(layers []layer) []string {
	out := make([]string, len(layers))
	for i, l := range layers {
		out[i] = "sha256:" + l.id
	}
	return out
}

// load sends an image; the engine keeps only the layers that it does not have.
func (e *Engine) load(ctx context.Context, i *image) error {
	r, w := io.Pipe()
	sent := make(chan struct{})
	go func() { defer close(sent); w.CloseWithError(i.archive(w)) }()
	defer func() { r.Close(); <-sent }()
	result, err := e.api.ImageLoad(ctx, r, client.ImageLoadWithQuiet(true))
	if err != nil {
		return err
	}
	defer result.Close()
	return readStream(result, nil)
}

func (i *image) archive(w io.Writer) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	m := entry{Config: i.id + ".json", RepoTags: []string{i.name}}
	for _, l := range i.layers {
		m.Layers = append(m.Layers, l.id+".tar")
	}
	manifest, err := json.Marshal([]entry{m})
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, l := range i.layers {
		if err := t.WriteHeader(&tar.Header{Name: l.id + ".tar", Mode: 0o644, Size: l.size}); err != nil {
			return err
		}
		if err := l.write(t); err != nil {
			return err
		}
	}
	for name, data := range map[string][]byte{m.Config: i.config, "manifest.json": manifest} {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		if _, err := t.Write(data); err != nil {
			return err
		}
	}
	return t.Close()
}

// used remembers an image and removes those of the service that are neither
// among its newest two nor in use.
func (e *Engine) used(ctx context.Context, service, image string) {
	e.images.mu.Lock()
	if e.images.recent == nil {
		e.images.recent = map[string][]string{}
	}
	recent := append(slices.DeleteFunc(e.images.recent[service], func(name string) bool { return name == image }), image)
	recent = recent[max(0, len(recent)-2):]
	e.images.recent[service] = recent
	e.images.mu.Unlock()
	which := filter(labelWorkspace, e.owner.Workspace).Add("label", labelService+"="+service)
	found, err := e.api.ImageList(ctx, client.ImageListOptions{Filters: which})
	if err != nil {
		return // it costs disk space only
	}
	for _, i := range found.Items {
		if !slices.ContainsFunc(i.RepoTags, func(tag string) bool { return slices.Contains(recent, tag) }) {
			_, _ = e.api.ImageRemove(ctx, i.ID, client.ImageRemoveOptions{PruneChildren: true}) // in use: the next time
		}
	}
}

// brought remembers images that the engine did not have before.
func (e *Engine) brought(names ...string) {
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	e.images.loaded = append(e.images.loaded, names...)
}

// dropLoaded removes the images that this run has brought. One that somebody
// uses meanwhile stays.
func (e *Engine) dropLoaded(ctx context.Context) {
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	for _, name := range e.images.loaded {
		_, _ = e.api.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
	}
	e.images.loaded = nil
}

// Named makes sure that the engine has the image that a manifest names, and
// returns what identifies its content.
func (e *Engine) Named(ctx context.Context, s *manifest.Service, tell func(string)) (runtime.Artifact, error) {
	if err := e.ensure(ctx, s.Image, tell); err != nil {
		return runtime.Artifact{}, err
	}
	found, err := e.api.ImageInspect(ctx, s.Image)
	if err != nil {
		return runtime.Artifact{}, e.explain(err)
	}
	return e.artifact(s, s.Image, found), nil
}

// ensure pulls an image that the engine does not have.
func (e *Engine) ensure(ctx context.Context, image string, tell func(string)) error {
	_, err := e.api.ImageInspect(ctx, image)
	if missing(err) {
		tell("pulls " + image)
		return e.pull(ctx, image, tell)
	}
	return e.explain(err)
}

// artifact is what runs of an image that somebody else made.
func (e *Engine) artifact(s *manifest.Service, name string, i client.ImageInspectResult) runtime.Artifact {
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	if e.images.ports == nil {
		e.images.ports = map[string]int{}
	}
	delete(e.images.ports, s.Name)
	if i.Config != nil && len(i.Config.ExposedPorts) == 1 {
		for port := range i.Config.ExposedPorts {
			var number int
			if _, err := fmt.Sscanf(port, "%d", &number); err == nil {
				e.images.ports[s.Name] = number
			}
		}
	}
	return runtime.Artifact{Version: shortID(i.ID), Argv: s.Run.Argv(), Image: name}
}

func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(len(id), 12)]
}

func (e *Engine) pull(ctx context.Context, image string, tell func(string)) error {
	progress, err := e.api.ImagePull(ctx, image, client.ImagePullOptions{})
	if err == nil {
		defer progress.Close()
		for message, broken := range progress.JSONMessages(ctx) {
			if err = broken; err == nil && message.Error != nil {
				err = message.Error
			}
			if err != nil {
				break
			}
			tell(strings.TrimSpace(message.Status + " " + message.ID))
		}
	}
	if err == nil {
		return nil
	}
	if gone(err) && ctx.Err() == nil {
		return e.explain(err)
	}
	return fmt.Errorf("the image %s is not at the engine and cannot be pulled: %w; check its name, docker login where it is private, or docker load it, then mesh restart", image, e.explain(err))
}

// DefaultPort is the port that a program in a container is told unless something
// else is known.
const DefaultPort = 8080

// Port is the port inside the container of a service: what its manifest says
// that the image fixes, what the image exposes, or DefaultPort.
func (e *Engine) Port(s *manifest.Service) int {
	if fixed := s.FixedPort(); fixed != 0 {
		return fixed
	}
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	if port := e.images.ports[s.Name]; port != 0 {
		return port
	}
	return DefaultPort
}
