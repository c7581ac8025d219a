package container

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/process"
)

// ErrNoProgram says that a container does not have the program.
var ErrNoProgram = errors.New("no such program")

// Streams of a command.
type Streams struct {
	In       io.Reader // nil: none
	Out, Err io.Writer
	Terminal bool              // it gets a terminal of its own; Err is not used
	Size     func() (w, h int) // of that terminal
}

// Exec runs a command in a container and returns its exit code. The end of ctx
// ends the command.
func Exec(ctx context.Context, id string, argv []string, s Streams) (int, error) {
	api, err := dial()
	if err != nil {
		return 0, err
	}
	defer api.Close()
	e := &Engine{api: api}
	out := &refusal{to: s.Out}
	s.Out = out
	code, err := e.exec(ctx, id, argv, s)
	if err != nil {
		_ = out.flush() // there is an error already
	} else {
		err = out.end(code)
	}
	if err != nil && (strings.Contains(err.Error(), "executable file not found") || strings.Contains(err.Error(), "no such file or directory: unknown")) {
		return code, ErrNoProgram
	}
	return code, e.explain(err)
}

// refusal keeps back what an older engine prints, in place of the program's output, when
// it could not start it; then the code is 126 or 127.
type refusal struct {
	to   io.Writer
	held []byte // as long as it may be that, or the beginning of it
	open bool   // it is the program's
}

const refused = "OCI runtime exec failed: "

func (r *refusal) Write(p []byte) (int, error) {
	if r.open {
		return r.to.Write(p)
	}
	if r.held = append(r.held, p...); strings.HasPrefix(refused, string(r.held)) || strings.HasPrefix(string(r.held), refused) {
		return len(p), nil
	}
	return len(p), r.flush()
}

func (r *refusal) flush() error {
	_, err := r.to.Write(r.held)
	r.held, r.open = nil, true
	return err
}

// end is what the engine said, as an error, or passes on what the program did.
func (r *refusal) end(code int) error {
	if (code == 126 || code == 127) && strings.HasPrefix(string(r.held), refused) {
		return errors.New(strings.TrimSpace(string(r.held)))
	}
	return r.flush()
}

func (e *Engine) exec(ctx context.Context, id string, argv []string, s Streams) (int, error) {
	options := client.ExecCreateOptions{Cmd: argv, AttachStdin: s.In != nil, AttachStdout: true, AttachStderr: true, TTY: s.Terminal}
	created, err := e.api.ExecCreate(ctx, id, options)
	if err != nil {
		return 0, err
	}
	start := client.ExecAttachOptions{TTY: s.Terminal}
	if s.Terminal && s.Size != nil {
		w, h := s.Size()
		start.ConsoleSize = client.ConsoleSize{Width: uint(w), Height: uint(h)}
		if w <= 0 || h <= 0 {
			start.ConsoleSize = client.ConsoleSize{}
		}
	}
	attached, err := e.api.ExecAttach(ctx, created.ID, start)
	if err != nil {
		return 0, err
	}
	defer attached.Close()
	ended := context.AfterFunc(ctx, func() {
		e.killCommand(context.WithoutCancel(ctx), created.ID, id)
		attached.Close()
	})
	defer ended()
	if s.In != nil {
		// Not waited for: a read of a terminal cannot be ended.
		go func() {
			_, _ = io.Copy(attached.Conn, s.In) // ends with either side
			_ = attached.CloseWrite()
		}()
	}
	if s.Terminal {
		_, err = io.Copy(s.Out, attached.Reader)
	} else {
		_, err = stdcopy.StdCopy(s.Out, s.Err, attached.Reader)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	found, err := e.api.ExecInspect(ctx, created.ID, client.ExecInspectOptions{})
	return found.ExitCode, err
}

// Exec implements runtime.Driver.
func (e *Engine) Exec(ctx context.Context, l runtime.Launch) (process.Exit, error) {
	e.mu.Lock()
	c := e.running[l.Instance]
	e.mu.Unlock()
	if c == nil {
		return process.Exit{}, errors.New("its container has ended")
	}
	code, err := e.exec(ctx, c.id, l.Argv, Streams{Out: l.Stdout, Err: l.Stderr})
	return process.Exit{Code: code}, e.explain(err)
}

// remember makes the container the one that commands for its instance run in.
func (e *Engine) remember(instance string, c *running) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running[instance] = c
}

func (e *Engine) forget(c *running) {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.running, func(_ string, other *running) bool { return other == c })
}

// killCommand ends a command that runs in a container: the engine has no word
// for that, so the process is killed, once it is seen to be of that container.
func (e *Engine) killCommand(ctx context.Context, exec, id string) {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	found, err := e.api.ExecInspect(ctx, exec, client.ExecInspectOptions{})
	if err != nil || !found.Running || found.PID == 0 {
		return
	}
	groups, err := os.ReadFile("/proc/" + strconv.Itoa(found.PID) + "/cgroup")
	if err != nil || !strings.Contains(string(groups), id) {
		return
	}
	if p, err := os.FindProcess(found.PID); err == nil {
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return // not ours to kill: it ends with the container
		}
	}
}
