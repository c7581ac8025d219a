package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// maxSaid is how much of a command's output is kept for a message.
const maxSaid = 4 << 10

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
	e, err := loose()
	if err != nil {
		return 0, err
	}
	defer e.Close()
	code, err := e.exec(ctx, id, argv, s)
	return code, e.explain(err)
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

// command runs a command and keeps what it said.
func (e *Engine) command(ctx context.Context, id string, argv []string) ([]byte, int, error) {
	said := &start{}
	code, err := e.exec(ctx, id, argv, Streams{Out: said, Err: said})
	return said.Bytes(), code, e.explain(err)
}

// start keeps the start of what is written to it.
type start struct{ bytes.Buffer }

func (s *start) Write(p []byte) (int, error) {
	s.Buffer.Write(p[:min(len(p), max(0, maxSaid-s.Len()))])
	return len(p), nil
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
