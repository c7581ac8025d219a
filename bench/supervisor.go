package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// The least that a supervisor can do, as something to compare with: it starts
// programs, each behind a pipe, writes their lines with a prefix into one file,
// and says when all accept connections. It restarts nothing, reloads nothing and
// cleans up nothing.
//
// supervise is run by this program as a child: bench __supervise LOG N COMMAND…
func supervise(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	log, err := os.Create(args[0])
	if err != nil {
		return err
	}
	defer log.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	out := &prefixed{w: bufio.NewWriterSize(log, 64<<10)}
	var running, ready sync.WaitGroup
	for i := range n {
		ready.Add(1)
		running.Go(func() { one(ctx, fmt.Sprintf("s%d", i), lowPort(i, n), args[2:], out, &ready) })
	}
	ready.Wait()
	fmt.Println("ready")
	running.Wait()
	out.mu.Lock()
	defer out.mu.Unlock()
	return out.w.Flush()
}

func one(ctx context.Context, name, port string, argv []string, out *prefixed, ready *sync.WaitGroup) {
	address := net.JoinHostPort("127.0.0.1", port)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), "HOST=127.0.0.1", "PORT="+port)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	go func() {
		defer ready.Done()
		for wait := 5 * time.Millisecond; ctx.Err() == nil; wait = min(wait*3/2, 250*time.Millisecond) {
			if conn, err := net.Dial("tcp", address); err == nil {
				conn.Close()
				return
			}
			time.Sleep(wait)
		}
	}()
	out.copy(name+" | ", pipe)
	if err := cmd.Wait(); ctx.Err() == nil { // nobody would start it again
		check(fmt.Errorf("%s at %s has ended: %w", name, address, err))
	}
}

// lowPort is a port for the i-th of n, from below the ephemeral range (ip(7)): of
// a thousand from within it connections take some before the program listens. No
// program may be forked meanwhile: it would hold the port until it has closed what
// it inherits, which may be later than the next one listens.
func lowPort(i, n int) string {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	for port := 10_000 + i; ; port += n {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			check(ln.Close())
			return strconv.Itoa(port)
		}
	}
}

// prefixed writes whole lines, each behind the name of who wrote it.
type prefixed struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (p *prefixed) copy(prefix string, from io.Reader) {
	lines := bufio.NewReaderSize(from, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			p.mu.Lock()
			_, failed := p.w.Write(append([]byte(prefix), line...))
			p.mu.Unlock()
			check(failed)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func freeAddress() string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer ln.Close()
	return ln.Addr().String()
}
