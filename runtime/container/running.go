package container

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/process"
)

const (
	requestPatience = 10 * time.Second // of one request to the engine
	outputGrace     = time.Second      // for what is left in the pipe after the end
	engineRetry     = 200 * time.Millisecond
	killPatience    = 10 * time.Second // for the end of a container that was killed
	awayPatience    = 2 * time.Second  // for an engine that does not answer to come back
)

// running is one container. Its goroutine follow waits for the end of it and
// removes it.
type running struct {
	engine         *Engine
	id             string
	service        *manifest.Service
	stdout, stderr io.Writer

	pid   int
	inner string // host:port on the bridge
	exit  process.Exit

	abandon context.CancelFunc
	exited  chan struct{} // closed when the program has ended
	done    chan struct{} // closed when the container is gone
	output  sync.WaitGroup
	conn    io.Closer // of the output
}

var _ runtime.Contained = (*running)(nil)

// begin starts the container and what follows it.
func (c *running) begin(ctx context.Context, port string) error {
	if err := c.attach(ctx); err != nil {
		return err
	}
	if _, err := c.engine.api.ContainerStart(ctx, c.id, client.ContainerStartOptions{}); err != nil {
		c.detach()
		return err
	}
	if err := c.look(ctx, port); err != nil {
		c.detach()
		return err
	}
	following, abandon := context.WithCancel(context.WithoutCancel(ctx))
	c.abandon = abandon
	go c.follow(following)
	return nil
}

// attach copies the output from now on.
func (c *running) attach(ctx context.Context) error {
	attached, err := c.engine.api.ContainerAttach(ctx, c.id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	c.conn = attached.Conn
	c.output.Go(func() { _, _ = stdcopy.StdCopy(c.stdout, c.stderr, attached.Reader) }) // ends with the connection
	return nil
}

func (c *running) detach() {
	c.conn.Close()
	c.output.Wait()
}

// look learns where the container is. One that has ended already has no address.
func (c *running) look(ctx context.Context, port string) error {
	found, err := c.engine.api.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	if found.Container.State != nil {
		c.pid = found.Container.State.Pid
	}
	if found.Container.NetworkSettings == nil {
		return nil
	}
	if at := found.Container.NetworkSettings.Networks[c.engine.bridge.Name]; at != nil && at.IPAddress.IsValid() && port != "" {
		c.inner = net.JoinHostPort(at.IPAddress.String(), port)
	}
	for inside, outside := range found.Container.NetworkSettings.Ports {
		for name, number := range c.service.MorePorts() {
			if int(inside.Num()) == number && len(outside) > 0 {
				fmt.Fprintf(c.stderr, "mesh: port %s (%d in the container) is at 127.0.0.1:%s\n", name, number, outside[0].HostPort)
			}
		}
	}
	return nil
}

// follow stays with the container until it has ended and is removed.
func (c *running) follow(ctx context.Context) {
	defer close(c.done)
	defer c.abandon()
	defer c.engine.forget(c)
	code := c.wait(ctx)
	c.exit = c.exitOf(ctx, code)
	close(c.exited)
	late := time.AfterFunc(outputGrace, func() { c.conn.Close() })
	c.output.Wait()
	late.Stop()
	c.conn.Close()
	for _, w := range []io.Writer{c.stdout, c.stderr} {
		if closer, ok := w.(io.Closer); ok {
			_ = closer.Close() // a log, which stores its last line
		}
	}
	c.engine.discard(ctx, c.id, c.service.Name)
}

// wait returns the exit code; -1 when nobody can tell. While the engine is away
// it waits for it to come back: the container may have lived on.
func (c *running) wait(ctx context.Context) int64 {
	for {
		ended := c.engine.api.ContainerWait(ctx, c.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case result := <-ended.Result:
			return result.StatusCode
		case err := <-ended.Error:
			if ctx.Err() != nil || missing(err) {
				return -1
			}
		}
		select {
		case <-ctx.Done():
			return -1
		case <-time.After(engineRetry):
			c.reattach(ctx)
		}
	}
}

// reattach follows the output of a container that outlived its engine.
func (c *running) reattach(ctx context.Context) {
	if found, err := c.engine.api.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{}); err != nil || found.Container.State == nil || !found.Container.State.Running {
		return
	}
	c.detach()
	_ = c.attach(ctx) // without, its output is lost, and it runs on
}

func (c *running) exitOf(ctx context.Context, code int64) process.Exit {
	e := process.Exit{Code: int(code)}
	switch code {
	case -1:
		e.Signal = "somebody else: the container is gone"
		if ctx.Err() != nil {
			e.Signal = "nobody who tells: the engine does not answer, and the container is removed when it does"
		}
	case 137:
		e.Signal = "SIGKILL" + c.outOfMemory(ctx)
	case 139:
		e.Signal = "SIGSEGV"
	case 143:
		e.Signal = "SIGTERM"
	}
	return e
}

func (c *running) outOfMemory(ctx context.Context) string {
	found, err := c.engine.api.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil || found.Container.State == nil || !found.Container.State.OOMKilled {
		return ""
	}
	if c.service.Resources != nil && c.service.Resources.Memory != "" {
		return ": out of memory, of which resources.memory grants it " + c.service.Resources.Memory
	}
	return ": out of memory"
}

// PID of the program on this machine.
func (c *running) PID() int { return c.pid }

// ContainerID is the engine's name for it.
func (c *running) ContainerID() string { return c.id }

// InnerAddress is where the program itself listens: at a published port the
// engine's proxy accepts before the program does.
func (c *running) InnerAddress() string { return c.inner }

// Done is closed when the container is gone.
func (c *running) Done() <-chan struct{} { return c.done }

// Exit is how it ended; valid once Done is closed.
func (c *running) Exit() process.Exit { return c.exit }

// Stop implements runtime.Running. An engine that does not answer is not waited
// for long: the container is removed when it does, by this mesh or the next one.
func (c *running) Stop(ctx context.Context, signal syscall.Signal, grace time.Duration) {
	if gone(c.kill(ctx, signal)) {
		grace = 0
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-ctx.Done():
	case <-timer.C:
	}
	patience := killPatience
	if gone(c.kill(ctx, syscall.SIGKILL)) {
		patience = awayPatience
	}
	late := time.AfterFunc(patience, c.abandon)
	defer late.Stop()
	<-c.done
}

// kill sends a signal, unless the program has ended. It may find nobody: that is
// no news.
func (c *running) kill(ctx context.Context, signal syscall.Signal) error {
	select {
	case <-c.exited:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestPatience)
	defer cancel()
	_, err := c.engine.api.ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: strconv.Itoa(int(signal))})
	return err
}
