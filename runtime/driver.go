package runtime

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/process"
)

// ErrUnavailable is what a driver's errors are where nothing is wrong with the
// instance: what runs it cannot be reached just now.
var ErrUnavailable = errors.New("what runs instances cannot be reached")

// Driver starts instances in one way: as processes, or as containers.
type Driver interface {
	// Start starts an instance and returns at once. The error is in words for
	// the person who wrote the manifest.
	Start(ctx context.Context, l Launch) (Running, error)
	// Exec runs a command where the instance is, to its end or that of ctx.
	Exec(ctx context.Context, l Launch) (process.Exit, error)
}

// Launch is all that a driver needs to know.
type Launch struct {
	Service  *manifest.Service
	Instance string
	Argv     []string
	Dir      string
	Env      []string
	Address  string // where it will be reached; "" for one without a port
	Image    string // of a container
	Stdout   io.Writer
	Stderr   io.Writer
}

// Running is an instance that was started.
type Running interface {
	PID() int
	Done() <-chan struct{} // closed when all of it is gone
	Exit() process.Exit    // valid once Done is closed
	// Stop asks it to end, kills it after grace or when ctx ends, and returns
	// when all of it is gone.
	Stop(ctx context.Context, signal syscall.Signal, grace time.Duration)
}

// Contained is a Running in a container.
type Contained interface {
	Running
	ContainerID() string
	// InnerAddress is where the program itself listens, beside the address at
	// which others reach it.
	InnerAddress() string
}

// Processes is the driver that runs instances as processes.
type Processes struct{ Driver *process.Driver }

// Start implements Driver.
func (p Processes) Start(_ context.Context, l Launch) (Running, error) {
	return p.Driver.Start(spec(l, "MESH_INSTANCE="+l.Instance))
}

// Exec implements Driver.
func (p Processes) Exec(ctx context.Context, l Launch) (process.Exit, error) {
	marker := "MESH_PROBE=" + l.Instance
	l.Env = append(slices.Clone(l.Env), marker)
	return p.Driver.Exec(ctx, spec(l, marker))
}

func spec(l Launch, marker string) process.Spec {
	return process.Spec{Argv: l.Argv, Dir: l.Dir, Env: l.Env, Stdout: l.Stdout, Stderr: l.Stderr, Marker: marker}
}

// Endpoints is told which instances may take traffic.
type Endpoints interface {
	// Add says that an instance is healthy.
	Add(Instance)
	// Remove says that it must get nothing new; nothing new is sent to it once
	// Remove has returned.
	Remove(Instance)
	// Drain waits until what an instance still works on is done, streams for at
	// most streams, or until ctx ends.
	Drain(ctx context.Context, i Instance, streams time.Duration)
}

// Environment knows what an instance is told and where it listens.
type Environment interface {
	// Address picks an address for a new instance; "" for one without a port.
	Address(s *manifest.Service, instance string) (string, error)
	// Environ is the whole environment of an instance, sorted by name.
	Environ(s *manifest.Service, instance, address string) ([]string, error)
	// Release gives up the address of an instance that is no more.
	Release(instance string)
}

// Artifact is what a build made.
type Artifact struct {
	Version string   // of the code; the same for the same code
	Argv    []string // what to run
	Image   string   // where to run it; "" for a process
}

// identity is the same for the same program started in the same way.
func (a Artifact) identity() string {
	return strings.Join(append([]string{a.Version, a.Image}, a.Argv...), "\x00")
}

// Builder builds services.
type Builder interface {
	// Build builds services together and reports each as soon as it is known,
	// from any goroutine. It returns when all are reported or ctx ends.
	Build(ctx context.Context, services []*manifest.Service, report func(service string, a Artifact, err error))
}
