// Package serve runs an HTTP server for as long as a context lives.
package serve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// grace is how long requests may finish once the context has ended.
const grace = time.Second

// HTTP serves on ln until ctx ends, lets requests finish for a second, and
// returns when the server has stopped; nil unless it failed. Requests' contexts
// end with ctx.
func HTTP(ctx context.Context, server *http.Server, ln net.Listener) error {
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(patience) != nil {
			server.Close()
		}
	})
	err := server.Serve(ln)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
