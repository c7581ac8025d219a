// Package container is the driver that runs instances as containers of a Docker
// engine: it makes their images, gives a workspace a bridge network of its own,
// and removes by label what a mesh that died has left.
package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/ebef7166/mesh/runtime"
)

// Labels that everything carries which mesh makes at the engine.
const (
	labelWorkspace = "dev.mesh.workspace" // absolute path of the workspace
	labelState     = "dev.mesh.state"     // state folder of the copy of it
	labelRun       = "dev.mesh.run"       // of one daemon; volumes and images outlive it
	labelService   = "dev.mesh.service"
	labelInstance  = "dev.mesh.instance"
)

// Owner says whose containers these are.
type Owner struct {
	Workspace string // absolute path
	Name      string // of the workspace
	State     string // state folder, absolute: another one for each copy
	Run       string // of this daemon
	Temporary bool   // nothing of it is kept, images neither
}

func (o Owner) labels() map[string]string {
	return map[string]string{labelWorkspace: o.Workspace, labelState: o.State, labelRun: o.Run}
}

// kept are the labels of what outlives a run.
func (o Owner) kept(service string) map[string]string {
	return map[string]string{labelWorkspace: o.Workspace, labelState: o.State, labelService: service}
}

// Engine is a Docker engine.
type Engine struct {
	api   *client.Client
	owner Owner
	arch  string // as Go calls it

	images imageCache
	bridge *Bridge // set by Connect
	left   *leftovers

	mu      sync.Mutex
	running map[string]*running // by instance
}

// Connect finds the engine at DOCKER_HOST and makes sure that the workspace has
// a network there. kept is the subnet of the last run; zero for none.
func Connect(ctx context.Context, owner Owner, kept string) (*Engine, error) {
	api, err := dial()
	if err != nil {
		return nil, err
	}
	e := &Engine{api: api, owner: owner, running: map[string]*running{}, left: newLeftovers()}
	if err := e.prepare(ctx, kept); err != nil {
		api.Close()
		return nil, err
	}
	return e, nil
}

// Describe says which engine answers at DOCKER_HOST; the error says why none does.
func Describe(ctx context.Context) (string, error) {
	api, err := dial()
	if err != nil {
		return "", err
	}
	defer api.Close()
	e := &Engine{api: api}
	if err := e.greet(ctx); err != nil {
		return "", err
	}
	version, err := api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", e.explain(err)
	}
	return fmt.Sprintf("%s, API %s", version.Version, version.APIVersion), nil
}

func dial() (*client.Client, error) {
	api, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("DOCKER_HOST: %w", err)
	}
	return api, nil
}

func (e *Engine) prepare(ctx context.Context, kept string) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	if err := e.sweep(ctx, filter(labelState, e.owner.State)); err != nil {
		return fmt.Errorf("remove what an earlier mesh left: %w", e.explain(err))
	}
	var err error
	e.bridge, err = e.makeBridge(ctx, kept)
	return err
}

// greet finds out whether there is an engine, and what it runs.
func (e *Engine) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	version, err := e.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return e.explain(err)
	}
	if version.Os != "linux" {
		return fmt.Errorf("the Docker engine runs %s containers: mesh needs one for Linux", version.Os)
	}
	e.arch = version.Arch
	return nil
}

// Close gives up the connections to the engine; Remove comes first.
func (e *Engine) Close() { e.api.Close() }

// Bridge is the workspace's network.
func (e *Engine) Bridge() *Bridge { return e.bridge }

// Arch is the architecture that the engine runs, as Go calls it.
func (e *Engine) Arch() string { return e.arch }

// Watch tells when the engine stops answering and when it is back, until ctx
// ends, and removes what could not be removed meanwhile. While the engine is there it
// costs one connection that nothing comes on.
func (e *Engine) Watch(ctx context.Context, lost func(error), back func()) error {
	var clearing sync.WaitGroup
	defer clearing.Wait()
	clearing.Go(func() { e.clear(ctx) })
	for {
		stream := e.api.Events(ctx, client.EventsListOptions{Filters: client.Filters{}.Add("type", "daemon")})
		if err := lastOf(stream); ctx.Err() == nil {
			lost(e.explain(err))
		}
		if !e.awaitReturn(ctx) {
			return nil
		}
		back()
	}
}

// awaitReturn waits until the engine answers; false when ctx ended first.
func (e *Engine) awaitReturn(ctx context.Context) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(engineRetry):
		}
		if _, err := e.api.Ping(ctx, client.PingOptions{}); err == nil {
			return true
		}
	}
}

// lastOf reads a stream of events to its end.
func lastOf(stream client.EventsResult) error {
	for {
		select {
		case <-stream.Messages:
		case err := <-stream.Err:
			return err
		}
	}
}

// unavailable is an engine that does not answer: it may come back.
type unavailable struct {
	host  string
	cause error
}

func (u *unavailable) Error() string {
	return fmt.Sprintf("no Docker engine answers at %s: %s", u.host, u.why())
}

// why is the cause with the next step.
func (u *unavailable) why() string {
	switch {
	case strings.Contains(u.cause.Error(), "permission denied"):
		return "this user may not use it; add the user to the group docker, or set DOCKER_HOST"
	case errors.Is(u.cause, context.DeadlineExceeded):
		return "it takes the connection and says nothing; look at its log, or restart it"
	}
	return "start it (systemctl start docker), or set DOCKER_HOST to where one listens"
}

func (u *unavailable) Is(target error) bool { return target == runtime.ErrUnavailable }
func (u *unavailable) Unwrap() error        { return u.cause }

// explain puts an error of the engine into words.
func (e *Engine) explain(err error) error {
	if err == nil {
		return nil
	}
	if gone(err) {
		return &unavailable{host: e.api.DaemonHost(), cause: err}
	}
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	return &engineError{text: text, cause: err}
}

// engineError is what the engine said, without its preface.
type engineError struct {
	text  string
	cause error
}

func (e *engineError) Error() string { return e.text }
func (e *engineError) Unwrap() error { return e.cause }

// gone reports that the engine itself could not be reached, or went away in the
// middle of a request.
func gone(err error) bool {
	var op *net.OpError
	return err != nil && (client.IsErrConnectionFailed(err) || errors.As(err, &op) || errdefs.IsUnavailable(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) || strings.HasSuffix(err.Error(), "EOF"))
}

func missing(err error) bool { return errdefs.IsNotFound(err) }

func beingRemoved(err error) bool {
	return errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress")
}
