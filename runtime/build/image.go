package build

import (
	"context"
	"fmt"
	"io"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
)

// byEngine reports whether the container engine makes, or has, what a service
// runs.
func byEngine(s *manifest.Service) bool {
	return s.Container() && (s.Image != "" || s.Dockerfile != "")
}

// image has the engine build an image, or makes sure that it is there.
func (b *Builder) image(ctx context.Context, s *manifest.Service) (runtime.Artifact, error) {
	if s.Image != "" {
		return b.Images().Named(ctx, s, func(text string) { b.Progress(s.Name, text) })
	}
	said := &tail{}
	log := b.Logs.Writer(s.Name, s.Name, logs.Build)
	defer log.Close()
	b.Progress(s.Name, "builds "+s.Dockerfile)
	a, err := b.Images().Dockerfile(ctx, s, b.Dir, io.MultiWriter(log, said))
	if err != nil {
		return a, fmt.Errorf("%s: %w\n%s", s.Dockerfile, err, lastStep(said.String()))
	}
	return a, nil
}

// What an engine says of the steps of a Dockerfile, and of the containers and layers
// that they make.
var (
	stepLine = lazyregexp.New(`^Step \d+/\d+ : `)
	ownLine  = lazyregexp.New(`^( ---> ?(Running in |Using cache)?[0-9a-f]*|Removing intermediate container [0-9a-f]+)$`)
)

// lastStep is what an engine has said since it began the last step of a Dockerfile,
// without the containers and layers that it tells of.
func lastStep(said string) string {
	lines := strings.Split(said, "\n")
	for i, line := range slices.Backward(lines) {
		if stepLine().MatchString(line) {
			lines = lines[i:]
			break
		}
	}
	return strings.Join(slices.DeleteFunc(lines, ownLine().MatchString), "\n")
}

// target is what a program is compiled for; the zero value is this machine, in
// the user's own way.
type target struct{ arch string }

func (t target) env() []string {
	if t.arch == "" {
		return nil
	}
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + t.arch}
}

// byTarget parts services by what they are compiled for. Where that comes to the
// same, they stay together: one build is cheaper than two.
func (b *Builder) byTarget(ctx context.Context, services []*manifest.Service) map[target][]*manifest.Service {
	inside := target{}
	if slices.ContainsFunc(services, (*manifest.Service).Container) {
		inside.arch = b.Images().Arch()
	}
	parts := map[target][]*manifest.Service{}
	for _, s := range services {
		t := target{}
		if s.Container() {
			t = inside
		}
		parts[t] = append(parts[t], s)
	}
	if len(parts) == 2 && goruntime.GOOS == "linux" && goruntime.GOARCH == inside.arch && b.plainGo(ctx) {
		return map[target][]*manifest.Service{inside: services}
	}
	return parts
}

// plainGo reports whether go builds static programs for this machine anyway.
func (b *Builder) plainGo(ctx context.Context) bool {
	return b.goEnv(ctx, "CGO_ENABLED", "GOOS", "GOARCH") == "0\nlinux\n"+goruntime.GOARCH
}

// goroot is the folder of the Go installation; "" without one.
func (b *Builder) goroot(ctx context.Context) string { return b.goEnv(ctx, "GOROOT") }

// goEnv is what go says of variables, a line each; "" where it cannot be asked.
func (b *Builder) goEnv(ctx context.Context, names ...string) string {
	said, marker := &tail{}, "MESH_BUILD=env"
	exit, err := b.Processes.Exec(ctx, process.Spec{Argv: append([]string{"go", "env"}, names...), Dir: b.Dir,
		Env: append(os.Environ(), marker), Marker: marker, Stdout: said, Stderr: io.Discard})
	if err != nil || exit.Code != 0 {
		return ""
	}
	return strings.TrimSpace(said.String())
}

// packed reports containers once their program is in an image. wait returns when
// all have been.
func (b *Builder) packed(ctx context.Context, services []*manifest.Service, report func(string, runtime.Artifact, error)) (packing func(string, runtime.Artifact, error), wait func()) {
	contained := map[string]*manifest.Service{}
	for _, s := range services {
		if s.Container() {
			contained[s.Name] = s
		}
	}
	var group sync.WaitGroup // one for each service: few
	return func(name string, a runtime.Artifact, err error) {
		s := contained[name]
		if s == nil || err != nil {
			report(name, a, err)
			return
		}
		group.Go(func() {
			a, err := b.pack(ctx, s, a)
			report(name, a, err)
		})
	}, group.Wait
}

func (b *Builder) pack(ctx context.Context, s *manifest.Service, a runtime.Artifact) (runtime.Artifact, error) {
	b.Progress(s.Name, "makes its image")
	image, err := b.Images().Program(ctx, s, a.Argv[0], b.goroot)
	return runtime.Artifact{Version: a.Version, Image: image}, err
}
