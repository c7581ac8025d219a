package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/internal/listening"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/process"
)

// probe asks an instance once whether it is well; the error says what it
// answered.
type probe func(ctx context.Context) error

// newProbe makes the probe that p describes, of an instance at addr; a command is
// run as l says, by run. A nil p asks whether the port accepts; it is nil for
// what has neither a probe nor a port.
func newProbe(p *manifest.Probe, addr string, l Launch, run commander) probe {
	switch {
	case p != nil && p.HTTP != "":
		return httpProbe("http://" + addr + p.HTTP)
	case p != nil && p.GRPC != nil:
		return grpcProbe(addr, *p.GRPC)
	case p != nil && !p.Command.Empty():
		l.Argv = p.Command.Argv()
		return commandProbe(l, run)
	case p != nil && addr != "":
		return tcpProbe(addr)
	case addr != "":
		return portProbe(addr)
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

// portProbe takes the kernel's word that somebody listens, where it gives it: a
// connection would wake the program to no end.
func portProbe(addr string) probe {
	at, _ := netip.ParseAddrPort(addr) // of a name nothing is known
	connect := tcpProbe(addr)
	return func(ctx context.Context) error {
		if listens, _ := listening.At(at); listens {
			return nil
		}
		return connect(ctx)
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
		return nothingListens(addr)
	}
	return err
}

func nothingListens(addr string) error { return fmt.Errorf("nothing listens on %s", addr) }

// commander runs a command where an instance is.
type commander func(ctx context.Context, l Launch) (process.Exit, error)

func commandProbe(l Launch, run commander) probe {
	return func(ctx context.Context) error {
		said := &said{}
		l.Stdout, l.Stderr = said, said
		switch exit, err := run(ctx, l); {
		case err != nil:
			return err
		case exit.Code != 0:
			return errors.New(strings.TrimSpace(fmt.Sprintf("%s ended with %s %s", l.Argv[0], exit, said.firstLine())))
		}
		return nil
	}
}

// said keeps the beginning of what a command prints, for a message.
type said struct {
	mu   sync.Mutex
	text []byte
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, p[:min(len(p), 200-len(s.text))]...)
	return len(p), nil
}

func (s *said) firstLine() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return firstLine(s.text)
}
