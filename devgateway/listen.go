package devgateway

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// stopGrace is how long requests may take to end when the gateway stops.
const stopGrace = 5 * time.Second

// Serve serves the routes on ln until ctx ends: HTTP/1.1 and HTTP/2, over TLS where
// ln is a listener of crypto/tls. Then it takes no more requests, ends streams at
// once, gives the others stopGrace, and returns when all of them are over. It
// closes ln.
func (g *Gateway) Serve(ctx context.Context, ln net.Listener) error {
	return g.serve(ctx, ln, g.Handler(), g.limits)
}

// ServeLink serves on ln the address that caller calls callee at, like
// [Gateway.Serve].
func (g *Gateway) ServeLink(ctx context.Context, ln net.Listener, caller, callee string) error {
	patient := g.limits
	patient.stall = 0
	return g.serve(ctx, ln, g.linkHandler(caller, callee), patient)
}

func (g *Gateway) serve(ctx context.Context, ln net.Listener, handler http.Handler, l limits) error {
	// Requests live in a context of their own: they go on for a while after
	// ctx has ended.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	s := newServer(requests, handler, l)
	var handlers sync.WaitGroup // hijacked connections are not waited for by Shutdown
	s.Handler = waited(&handlers, overTLS(handler))

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		stopped <- g.stop(requests, s, endRequests)
	}()
	err := s.Serve(strictListener{ln, l})
	stop() // also when the listener broke
	stopErr := <-stopped
	handlers.Wait()
	g.closeIdle()
	g.http1.CloseIdleConnections()
	g.http2.CloseIdleConnections()
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return stopErr
}

// stop shuts a server down within stopGrace.
func (g *Gateway) stop(requests context.Context, s *http.Server, endRequests func()) error {
	ctx, cancel := context.WithTimeout(requests, stopGrace)
	defer cancel()
	g.streams.endAll(s)
	defer g.streams.forget(s)
	err := s.Shutdown(ctx)
	endRequests() // hijacked connections see this, and nothing else
	if errors.Is(err, context.DeadlineExceeded) {
		return s.Close()
	}
	return err
}

func waited(all *sync.WaitGroup, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Add(1)
		defer all.Done()
		next.ServeHTTP(w, r)
	})
}

// newServer bounds what a connection may cost before anything is known about
// it. There is no limit on a whole request: streams have none.
func newServer(requests context.Context, handler http.Handler, l limits) *http.Server {
	s := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: l.header,
		IdleTimeout:       l.idle,
		MaxHeaderBytes:    maxHeaderBytes, // over HTTP/1.1 the connection counts itself, to the byte
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnContext:       connContext,
		ConnState:         connState,
		ErrorLog:          log.New(io.Discard, "", 0), // broken connections are no news
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 500, SendPingTimeout: 30 * time.Second, WriteByteTimeout: l.stall},
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}
