// Package relay passes TCP connections on to another address.
package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// most bounds the connections of a relay. At the bound new ones wait in the
// listener's backlog.
const most = 1024

// TCP passes what ln accepts on to address until ctx ends; then it closes ln and
// every connection, and returns when all are over.
func TCP(ctx context.Context, ln net.Listener, address string) error {
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
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			time.Sleep(50 * time.Millisecond) // too many open files, say: it passes
			continue
		}
		slots <- struct{}{}
		open.Go(func() {
			defer func() { <-slots }()
			pass(ctx, conn, address)
		})
	}
}

func pass(ctx context.Context, client net.Conn, address string) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return // the client sees its connection closed, as it would at the address itself
	}
	defer server.Close()
	closing := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer closing()
	var both sync.WaitGroup
	both.Go(func() { half(server, client) })
	half(client, server)
	both.Wait()
}

// half copies one direction, and passes on that its sender is done.
func half(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if t, ok := to.(*net.TCPConn); ok && err == nil {
		_ = t.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}
