// Package relay serves TCP connections by passing on what they carry.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// most bounds the connections of a listener. At the bound new ones wait in its
// backlog.
const most = 1024

// TCP passes what ln accepts on to address until ctx ends; then it closes ln and
// every connection, and returns when all are over.
func TCP(ctx context.Context, ln net.Listener, address string) error {
	return Serve(ctx, ln, func(ctx context.Context, client net.Conn) {
		server, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return // the client sees its connection closed, as it would at the address itself
		}
		defer server.Close()
		Join(ctx, client, server)
	})
}

// Serve calls handle for each connection that ln accepts, at most 1,024 at once,
// until ctx ends; then it closes ln and returns when all calls have. It closes
// what it accepted after the call. When somebody else closes ln it waits for the
// calls, and returns net.ErrClosed.
func Serve(ctx context.Context, ln net.Listener, handle func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	closing := context.AfterFunc(ctx, func() { ln.Close() })
	defer closing()
	defer ln.Close()
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	slots := make(chan struct{}, most)
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			open.Wait() // what is open may end
			return err
		case err != nil: // too many open files, say: it passes
			pause(ctx, 50*time.Millisecond)
			continue
		}
		slots <- struct{}{}
		open.Go(func() {
			defer func() { conn.Close(); <-slots }()
			handle(ctx, conn)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Join copies between two connections until both have said all, or one of them
// is gone, or ctx ends. It returns the bytes that a and b sent.
func Join(ctx context.Context, a, b io.ReadWriteCloser) (fromA, fromB int64) {
	closing := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer closing()
	var both sync.WaitGroup
	both.Go(func() { fromA = half(b, a) })
	fromB = half(a, b)
	both.Wait()
	return fromA, fromB
}

// half copies one direction, and passes on that its sender is done.
func half(to, from io.ReadWriteCloser) int64 {
	n, err := io.Copy(to, from)
	if c, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = c.CloseWrite() // fails only where the connection has ended
		return n
	}
	to.Close()
	from.Close()
	return n
}
