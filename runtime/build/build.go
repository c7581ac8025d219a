// Package build makes what services run: the Go services of a workspace by one
// `go build`, others by their own command.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
)

// Images makes what containers run.
type Images interface {
	// Arch is the architecture that containers have, as Go calls it.
	Arch() string
	// Program makes an image of a static Linux program. It asks for the Go
	// installation's folder at most once.
	Program(ctx context.Context, s *manifest.Service, file string, goroot func(context.Context) string) (image string, err error)
	// Dockerfile has the engine build, with dir as the context.
	Dockerfile(ctx context.Context, s *manifest.Service, dir string, said io.Writer) (runtime.Artifact, error)
	// Named makes sure that an image is there.
	Named(ctx context.Context, s *manifest.Service, tell func(string)) (runtime.Artifact, error)
}

// Builder implements runtime.Builder.
type Builder struct {
	Dir         string // of the workspace
	Bin         string // where programs go: Bin/SERVICE/VERSION
	Logs        *logs.Store
	Environment runtime.Environment
	Processes   *process.Driver
	Images      func() Images                            // asked for containers alone; nil: there are none
	Progress    func(service, text string)               // may be called from any goroutine
	InUse       func(service string) (versions []string) // those of its instances; nil: none are

	mu    sync.Mutex
	began map[string]*before // by service, when its build command began the last time
}

// Build implements runtime.Builder.
func (b *Builder) Build(ctx context.Context, services []*manifest.Service, report func(string, runtime.Artifact, error)) {
	services = slices.SortedFunc(slices.Values(services), func(x, y *manifest.Service) int { return cmp.Compare(x.Name, y.Name) })
	guarded := func(name string, a runtime.Artifact, err error) {
		if ctx.Err() != nil {
			return // ended by a newer build, which will report
		}
		b.log(name, err)
		report(name, a, err)
	}
	var golang, others []*manifest.Service
	for _, s := range services {
		if s.Go != "" && !byEngine(s) {
			golang = append(golang, s)
		} else {
			others = append(others, s)
		}
	}
	var group sync.WaitGroup
	defer group.Wait()
	if len(golang) > 0 {
		group.Go(func() { b.golang(ctx, golang, guarded) })
	}
	group.Go(func() { b.commands(ctx, others, guarded) })
}

// log writes a failed build's message into the service's log.
func (b *Builder) log(service string, err error) {
	if err == nil {
		return
	}
	w := b.Logs.Writer(service, service, logs.Build)
	defer w.Close()
	if failed, ok := errors.AsType[*failedCommand](err); ok {
		fmt.Fprintln(w, failed.how) // what it printed is there already
		return
	}
	fmt.Fprintln(w, err)
}

// failedCommand is a build command that did not end well.
type failedCommand struct {
	how  string
	said string // what it printed last
}

func (f *failedCommand) Error() string { return f.how + "\n" + f.said }

// commands runs the build commands of services that have one, a few at a time. A
// folder that services share and none of them builds in is read once.
func (b *Builder) commands(ctx context.Context, services []*manifest.Service, report func(string, runtime.Artifact, error)) {
	var group errgroup.Group
	group.SetLimit(4)
	versions := versionsOf(services)
	for _, s := range services {
		group.Go(func() error {
			a, err := b.command(ctx, s, versions[sourcesOf(s)])
			report(s.Name, a, err)
			return nil
		})
	}
	_ = group.Wait() // each has reported for itself
}

// sourcesOf is the same for services whose version is made from the same files.
func sourcesOf(s *manifest.Service) string {
	return strings.Join(slices.Concat([]string{s.Dir}, s.EnvFiles(), s.WatchedOutside()), "\x00")
}

// versionsOf identifies, once asked, what the folders of services hold.
func versionsOf(services []*manifest.Service) map[string]func() (string, error) {
	versions := map[string]func() (string, error){}
	built := map[string]bool{}
	for _, s := range services {
		of := sourcesOf(s)
		built[of] = built[of] || !s.Build.Empty()
		version := func() (string, error) { return fingerprint(s) }
		if !built[of] {
			version = sync.OnceValues(version)
		}
		versions[of] = version
	}
	return versions
}

// command builds one of them; version identifies what its folder holds then.
func (b *Builder) command(ctx context.Context, s *manifest.Service, version func() (string, error)) (runtime.Artifact, error) {
	if byEngine(s) {
		return b.image(ctx, s)
	}
	if !s.Build.Empty() {
		b.Progress(s.Name, strings.Join(s.Build.Argv(), " "))
		b.begin(s)
		if err := b.run(ctx, s); err != nil {
			return runtime.Artifact{}, err
		}
	}
	v, err := version()
	return runtime.Artifact{Version: v, Argv: s.Run.Argv()}, err
}

// run runs a build command. The error ends with what the command printed last.
func (b *Builder) run(ctx context.Context, s *manifest.Service) error {
	env, err := b.Environment.Environ(s, "", "")
	if err != nil {
		return err
	}
	argv, err := runtime.ExpandAll(s.Build.Argv(), env)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	said := &tail{}
	log := b.Logs.Writer(s.Name, s.Name, logs.Build)
	defer log.Close()
	marker := "MESH_BUILD=" + s.Name
	p, err := b.Processes.Start(process.Spec{Argv: argv, Dir: s.Dir, Env: append(env, marker), Marker: marker,
		Stdout: io.MultiWriter(log, said), Stderr: io.MultiWriter(log, said)})
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop(ctx, syscall.SIGKILL, 0)
	}
	if exit := p.Exit(); exit.Code != 0 {
		return &failedCommand{how: fmt.Sprintf("%s: %s", strings.Join(argv, " "), exit), said: said.String()}
	}
	return nil
}

// tail keeps the end of what is written to it, 4 KiB of it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - 4<<10; over > 0 {
		t.text = t.text[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.text), "\uFFFD"))
}

// install moves a program to its place below Bin and drops old versions.
func (b *Builder) install(from, service string) (runtime.Artifact, error) {
	version, err := programVersion(from)
	if err != nil {
		return runtime.Artifact{}, err
	}
	dir := filepath.Join(b.Bin, service)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return runtime.Artifact{}, err
	}
	to := filepath.Join(dir, version)
	if err := os.Rename(from, to); err != nil {
		return runtime.Artifact{}, err
	}
	b.prune(service)
	return runtime.Artifact{Version: version, Argv: []string{to}}, nil
}

// prune removes all but the newest programs of a service, and those that it runs: they
// may have to be started again.
func (b *Builder) prune(service string) {
	const keep = 4
	dir := filepath.Join(b.Bin, service)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keep {
		return
	}
	var inUse []string
	if b.InUse != nil {
		inUse = b.InUse(service)
	}
	age := func(e os.DirEntry) int64 {
		info, err := e.Info()
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(entries, func(x, y os.DirEntry) int { return cmp.Compare(age(y), age(x)) })
	for _, e := range entries[keep:] {
		if !slices.Contains(inUse, e.Name()) {
			_ = os.Remove(filepath.Join(dir, e.Name())) // it costs disk space only
		}
	}
}
