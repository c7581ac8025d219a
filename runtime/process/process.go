// Package process is the driver that runs instances as processes of this
// machine. What it starts, it also ends: the process, its group, and what left
// the group (on Linux), whether the instance is stopped, exits by itself, or
// mesh dies in whatever way.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// outputGrace is how long output is still read after the last process of an
// instance is gone: what is left in the pipe.
const outputGrace = time.Second

// outputBuffer is how much is read at once, the size of a pipe.
const outputBuffer = 64 << 10

// Spec says what to run.
type Spec struct {
	Argv   []string // the program and its arguments
	Dir    string   // working folder
	Env    []string // the whole environment; must hold Marker
	Stdout io.Writer
	Stderr io.Writer
	Marker string // an element of Env that no other instance has, such as MESH_INSTANCE=cart-1
}

// Exit is how a process ended.
type Exit struct {
	Code   int    // exit code; -1 when a signal ended it
	Signal string // the signal's name, or ""
}

func (e Exit) String() string {
	if e.Signal != "" {
		return "killed by " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Driver starts processes and adopts what they leave behind. Run must be
// running while there are any. Nothing else in this program may start a process
// or wait for one: the driver takes every child that it did not start for one
// that was adopted.
type Driver struct {
	buffers sync.Pool // of *[]byte, for output
	holder  holder    // what the operating system needs to hold processes together
}

// NewDriver returns a driver without any processes. state is a folder in which
// it remembers what a later start needs to find what is left.
func NewDriver(state string) *Driver {
	return &Driver{holder: newHolder(state), buffers: sync.Pool{New: func() any { return new(make([]byte, outputBuffer)) }}}
}

// AwaitReady waits until Run has what it starts processes with: a copy of this process's
// file table among it, of which what others close may stay open for a moment.
func (d *Driver) AwaitReady() error { return d.holder.await(d.holder.ready) }

// AwaitClean waits until Run has killed what an earlier run left behind.
func (d *Driver) AwaitClean() error { return d.holder.await(d.holder.clean) }

// Process is one that was started. It owns the goroutines that read its output
// and wait for it; they end by themselves after the process does.
type Process struct {
	driver *Driver
	cmd    *exec.Cmd
	pid    int
	marker string
	held   held // by the operating system's means
	exit   Exit
	done   chan struct{} // closed when the whole tree is gone and the output read
	exited chan struct{} // closed when the process itself has ended

	mu     sync.Mutex
	reaped bool // from then on the pid may belong to somebody else
}

// Start starts a process as the leader of a new group. An error names the
// program and says why it could not be started.
func (d *Driver) Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Argv[0], spec.Argv[1:]...)
	cmd.Dir, cmd.Env = spec.Dir, spec.Env
	// A path with a slash is meant from the service's folder, as in a shell.
	if cmd.Err != nil && !errors.Is(cmd.Err, exec.ErrDot) {
		return nil, startError(spec.Argv[0], cmd.Err)
	}
	cmd.Err = nil
	// Before it is ready, whoever opens files may leave none for it.
	if err := d.AwaitReady(); err != nil {
		return nil, startError(spec.Argv[0], err)
	}
	out, err := newOutput(&d.buffers, spec.Stdout, spec.Stderr)
	if err != nil {
		return nil, err
	}
	p := &Process{driver: d, cmd: cmd, marker: spec.Marker, done: make(chan struct{}), exited: make(chan struct{})}
	if err := d.holder.start(p, out.writers); err != nil {
		out.abandon()
		return nil, spec.startError(err)
	}
	out.started()
	go p.wait(out)
	return p, nil
}

// Exec runs a process to its end and says how it ended; the end of ctx kills it.
func (d *Driver) Exec(ctx context.Context, spec Spec) (Exit, error) {
	p, err := d.Start(spec)
	if err != nil {
		return Exit{}, err
	}
	select {
	case <-p.done:
		return p.exit, nil
	case <-ctx.Done():
		p.Kill()
		<-p.done
		return p.exit, ctx.Err()
	}
}

// startError tells a folder that the program cannot run in from a program that is not
// there: the operating system says the same of both.
func (spec Spec) startError(err error) error {
	if spec.Dir == "" {
		return startError(spec.Argv[0], err)
	}
	_, missing := os.Stat(spec.Dir + string(filepath.Separator) + ".") // which asks whether it may be entered, too
	switch {
	case errors.Is(missing, os.ErrNotExist):
		return fmt.Errorf("%s: the folder to run it in is not there: %s", spec.Argv[0], spec.Dir)
	case missing != nil:
		return fmt.Errorf("%s: the folder to run it in cannot be entered: %w", spec.Argv[0], missing)
	}
	return startError(spec.Argv[0], err)
}

func startError(program string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s: no such program on PATH", program)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s: no such file", program)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: not an executable file (chmod +x?)", program)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%s: %w: mesh needs about 6 for an instance; raise the limit (ulimit -n) and start mesh again", program, err)
	case errors.Is(err, syscall.EAGAIN):
		return fmt.Errorf("%s: no more processes are allowed (ulimit -u, or the pids limit of a container)", program)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s: not a program of this machine; a script needs a first line like #!/bin/sh", program)
	}
	return fmt.Errorf("%s: %w", program, err)
}

// wait ends whatever the instance leaves behind: nothing of it outlives its main
// process.
func (p *Process) wait(out *output) {
	p.exit = exitOf(p.finish())
	out.finish(outputGrace)
	close(p.done)
}

// unlessReaped runs f while the pid is certainly the process's own.
func (p *Process) unlessReaped(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		f()
	}
}

func exitOf(status syscall.WaitStatus, err error) Exit {
	switch {
	case err != nil:
		return Exit{Code: -1, Signal: "unknown"}
	case status.Signaled():
		return Exit{Code: -1, Signal: signalName(status.Signal())}
	}
	return Exit{Code: status.ExitStatus()}
}

// PID is the process's id.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process and all that it started are gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is how the process ended; valid once Done is closed.
func (p *Process) Exit() Exit { return p.exit }

// Stop asks the group to end with signal, and kills the whole tree when it has
// not ended within grace, or when ctx ends. It returns when all is gone.
func (p *Process) Stop(ctx context.Context, signal syscall.Signal, grace time.Duration) {
	p.unlessReaped(func() { p.signalGroup(signal) })
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-ctx.Done():
	case <-timer.C:
	}
	p.Kill()
	<-p.done
}

// Kill ends the whole tree at once; it does not wait.
func (p *Process) Kill() { p.unlessReaped(p.killTree) }
