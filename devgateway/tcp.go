package devgateway

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// maxTCP bounds the connections of a TCP link. At the bound new ones wait in
// the listener's backlog.
const maxTCP = 1024

// ServeTCPLink serves on ln the address that caller reaches callee at, as a
// plain TCP connection to one of its instances, until ctx ends. It closes ln
// and returns when all connections are over; they are closed at once.
func (g *Gateway) ServeTCPLink(ctx context.Context, ln net.Listener, caller, callee string) error {
	ctx, cancel := context.WithCancel(ctx)
	closing := context.AfterFunc(ctx, func() { ln.Close() })
	defer closing()
	defer ln.Close()
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	slots := make(chan struct{}, maxTCP)
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			if temporary(ctx, err) {
				continue
			}
			return err
		}
		slots <- struct{}{}
		open.Go(func() {
			defer func() { <-slots }()
			g.tunnel(ctx, conn, caller, callee)
		})
	}
}

// temporary waits a little after an error that passes by itself, such as too
// many open files.
func temporary(ctx context.Context, err error) bool {
	var n net.Error
	if errors.Is(err, net.ErrClosed) || !errors.As(err, &n) {
		return false
	}
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
	return true
}

// tunnel connects a caller to an instance until both have said all, or one of
// them is gone.
func (g *Gateway) tunnel(ctx context.Context, client net.Conn, caller, callee string) {
	defer client.Close()
	x := &exchange{g: g, caller: caller, callee: callee, start: time.Now(), trace: newTrace(nil), stream: true}
	server, err := g.connect(ctx, x)
	if err != nil {
		g.log.InfoContext(ctx, "no connection for a TCP link", "caller", caller, "callee", callee, "error", err)
		return
	}
	ctx, x.cancel = context.WithCancel(ctx)
	defer x.finish()
	defer server.Close()
	g.streams.add(x)
	closing := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer closing()
	var sent int64
	var both sync.WaitGroup
	both.Go(func() { sent = pipe(server, client) })
	received := pipe(client, server)
	both.Wait()
	g.observeTCP(x, sent, received)
}

// connect dials instances until one takes the connection.
func (g *Gateway) connect(ctx context.Context, x *exchange) (net.Conn, error) {
	var tried []*endpoint
	var refused error
	for {
		e := g.await(ctx, x.callee, tried)
		if e == nil {
			return nil, g.nobody(ctx, x.callee, refused)
		}
		conn, err := dial(ctx, "tcp", e.Addr)
		if err == nil {
			x.endpoint, x.held = e, true
			return conn, nil
		}
		e.release()
		tried, refused = append(tried, e), err
	}
}

// pipe copies one direction, and passes on that its sender is done.
func pipe(to, from net.Conn) int64 {
	n, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return n
	}
	_ = to.Close()
	_ = from.Close()
	return n
}

func (g *Gateway) observeTCP(x *exchange, sent, received int64) {
	if g.config.Observe == nil {
		return
	}
	g.config.Observe(Record{
		Start: x.start, Duration: time.Since(x.start), Caller: x.caller, Callee: x.callee,
		Instance: x.endpoint.ID, Protocol: "TCP", Stream: true, RequestBytes: sent, ResponseBytes: received,
		TraceID: x.trace.idText(), SpanID: hexText(x.trace.span),
	})
}
