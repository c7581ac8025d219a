package devgateway

import (
	"context"
	"net"
	"time"

	"github.com/ebef7166/mesh/internal/relay"
)

// ServeTCPLink serves on ln the address that caller reaches callee at, as a
// plain TCP connection to one of its instances, until ctx ends. It closes ln
// and returns when all connections are over; they are closed at once.
func (g *Gateway) ServeTCPLink(ctx context.Context, ln net.Listener, caller, callee string) error {
	return relay.Serve(ctx, ln, func(ctx context.Context, conn net.Conn) { g.tunnel(ctx, conn, caller, callee) })
}

// tunnel connects a caller to an instance until both have said all, or one of
// them is gone.
func (g *Gateway) tunnel(ctx context.Context, client net.Conn, caller, callee string) {
	x := &exchange{g: g, caller: caller, callee: callee, start: time.Now(), trace: newTrace(nil), stream: true}
	server, err := g.connect(ctx, x)
	if err != nil {
		g.log.InfoContext(ctx, "no connection for a TCP link", "caller", caller, "callee", callee, "error", err)
		return
	}
	x.life.begin(ctx)
	defer x.finish()
	defer server.Close()
	g.streams.add(x)
	sent, received := relay.Join(&x.life, client, server)
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
		g.judge(x.callee, e, err)
		if err == nil {
			x.endpoint, x.held = e, true
			return conn, nil
		}
		e.release()
		tried, refused = append(tried, e), err
	}
}

func (g *Gateway) observeTCP(x *exchange, sent, received int64) {
	if g.config.Observe == nil {
		return
	}
	g.config.Observe(Record{
		Start: x.start, Duration: time.Since(x.start), Caller: x.caller, Callee: x.callee,
		Instance: x.endpoint.ID, Protocol: "TCP", Stream: true, RequestBytes: sent, ResponseBytes: received,
		TraceID: x.trace.idText(), SpanID: x.trace.spanText(),
	})
}
