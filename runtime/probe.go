package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// probe asks an instance once whether it is well; the error says what it
// answered.
type probe func(ctx context.Context) error

// newProbe makes the probe that p describes, of an instance at addr that runs in
// dir with env. A nil p asks whether the port accepts; it is nil for what has
// neither a probe nor a port.
func newProbe(p *manifest.Probe, addr, dir string, env []string) probe {
	switch {
	case p != nil && p.HTTP != "":
		return httpProbe("http://" + addr + p.HTTP)
	case p != nil && p.GRPC != nil:
		return grpcProbe(addr, *p.GRPC)
	case p != nil && !p.Command.Empty():
		return commandProbe(p.Command.Argv(), dir, env)
	case addr != "":
		return tcpProbe(addr)
	}
	return nil
}

// bounded gives each probe its time.
func (p probe) bounded(timeout time.Duration) probe {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no answer within %v", timeout))
		defer cancel()
		err := p(ctx)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
}

func tcpProbe(addr string) probe {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return plainDialError(addr, err)
		}
		return conn.Close()
	}
}

func httpProbe(url string) probe {
	// Without keep-alive: a probe must not hold a connection open on an instance
	// that is about to drain.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return plainDialError(req.URL.Host, err)
		}
		defer resp.Body.Close()
		if resp.StatusCode < 200 || resp.StatusCode > 399 {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // for the message only
			return fmt.Errorf("GET %s answered %s %s", req.URL.Path, resp.Status, firstLine(body))
		}
		return nil
	}
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.ToValidUTF8(line, "?")
}

func plainDialError(addr string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens on %s", addr)
	}
	return err
}

func commandProbe(argv []string, dir string, env []string) probe {
	return func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir, cmd.Env, cmd.WaitDelay = dir, env, 100*time.Millisecond
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return fmt.Errorf("%s ended with %w %s", argv[0], exit, firstLine(out))
		}
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: no such program", argv[0])
		}
		return err
	}
}

func containedProbe(c Contained, argv []string) probe {
	return func(ctx context.Context) error {
		said, code, err := c.Command(ctx, argv)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s ended with exit status %d %s", argv[0], code, firstLine(said))
		}
		return err
	}
}
