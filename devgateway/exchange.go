package devgateway

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/rs/cors"
)

// exchange is a request on its way through the gateway.
type exchange struct {
	g      *Gateway
	caller string
	callee string
	route  *compiled  // nil on a link
	cors   *cors.Cors // nil: no other origins, or nothing is known of them
	who    *Identity
	trace  trace
	start  time.Time

	w    writer        // where the answer goes
	url  url.URL       // of the request as it is sent on
	said []headerField // headers that the gateway adds to it; in room, if there is
	room [8]headerField

	life     life
	timer    *time.Timer // nil without a timeout
	timedOut atomic.Bool
	ended    atomic.Bool // a stream that the gateway ends

	body     *watch      // of the request's; nil: it may take its time
	endpoint *endpoint   // where it is, or was tried last
	held     bool        // it is counted in there
	tries    int         // how often it was sent again
	web      *webCall    // nil: it is no gRPC-Web
	sent     *repeatable // the request's body; nil: it has none
	written  atomic.Bool // net/http's client has sent its head to an instance
	server   any         // what accepted it; known of streams only
	stream   bool
	old      bool        // the client speaks HTTP/1.0
	closing  func() bool // undoes closeWhenDone
	problem  *problem    // what the gateway answered itself
}

func (g *Gateway) newExchange(w http.ResponseWriter, r *http.Request, caller string) *exchange {
	return &exchange{g: g, caller: caller, start: time.Now(), trace: newTrace(r.Header), w: writer{ResponseWriter: w}}
}

// begin gives a request its context, which ends when its time is over or the
// gateway ends it.
func (x *exchange) begin(r *http.Request) *http.Request {
	x.life.begin(r.Context())
	return r.WithContext(&x.life)
}

// limitTime begins the time of a route. What waits for the client's body then ends,
// too, which an end of the context alone does not do.
func (x *exchange) limitTime() {
	if x.route.Timeout <= 0 {
		return
	}
	x.timer = time.AfterFunc(x.route.Timeout, func() {
		x.timedOut.Store(true)
		if x.body != nil {
			x.body.interrupt()
		}
		x.life.end(context.DeadlineExceeded)
	})
}

// finish frees what begin took, and counts the request out of its instance.
func (x *exchange) finish() {
	if x.timer != nil {
		x.timer.Stop()
	}
	if x.closing != nil {
		x.closing()
	}
	if x.body != nil {
		x.body.end()
	}
	x.life.finish()
	if x.stream {
		x.g.streams.remove(x)
	}
	if x.held {
		x.endpoint.release()
	}
}

// arrived looks at the head of an answer. The time limit of a stream is over
// with it.
func (x *exchange) arrived(res *http.Response) {
	removeIdentity(res.Header)
	cleanTrailer(res.Trailer)
	if x.route != nil {
		x.onlyOurCORS(res.Header)
		x.route.ownLocation(res.Header)
	}
	if isStream(res) {
		x.stream = true
		x.closing = closeWhenDone(res)
		x.server = res.Request.Context().Value(http.ServerContextKey)
		if x.timer != nil {
			x.timer.Stop()
		}
		x.g.streams.add(x)
	}
}

// closeWhenDone closes the body of a stream when its request's context ends.
// To end the context is not enough: HTTP/2's transport looks at it only
// between two reads of the request's body, and that of a stream may wait for
// its client for ever.
func closeWhenDone(res *http.Response) (stop func() bool) {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil // the proxy does it
	}
	return context.AfterFunc(res.Request.Context(), func() { _ = res.Body.Close() })
}

// end makes a stream stop.
func (x *exchange) end() {
	x.ended.Store(true)
	x.life.end(context.Canceled)
}

// failed says what it means that a service did not answer.
func (x *exchange) failed(err error) *problem {
	var tooLarge *http.MaxBytesError
	var none *noInstance
	var strange *notSpoken
	var notBase64 base64.CorruptInputError
	switch {
	case errors.As(err, &tooLarge):
		return &problem{status: http.StatusRequestEntityTooLarge, cause: "the request's body is larger than the route allows"}
	case errors.As(err, &none):
		return &problem{status: http.StatusServiceUnavailable, service: x.callee, cause: none.cause, retry: 1}
	case x.late():
		return &problem{status: http.StatusRequestTimeout, cause: "the request's body was not there within " + x.route.Timeout.String()}
	case x.timedOut.Load():
		return &problem{status: http.StatusGatewayTimeout, service: x.callee, cause: x.callee + " did not answer within " + x.route.Timeout.String()}
	case x.stalled():
		return &problem{status: http.StatusRequestTimeout, cause: "the request's body did not come: nothing for " + x.g.limits.stall.String()}
	case x.ended.Load():
		return &problem{status: http.StatusServiceUnavailable, service: x.callee, cause: "the instance of " + x.callee + " is being replaced", retry: 1}
	case errors.Is(x.sent.fault(), io.ErrUnexpectedEOF):
		return &problem{status: http.StatusBadRequest, cause: "the request's body ended before its length"}
	case errors.As(x.sent.fault(), &notBase64):
		return &problem{status: http.StatusBadRequest, cause: "the request's body is not base64, which its Content-Type says: " + notBase64.Error()}
	case errors.Is(err, context.Canceled):
		return &problem{status: statusClientClosed, service: x.callee, cause: "the client went away"}
	case errors.As(err, &strange):
		return &problem{status: http.StatusBadGateway, service: x.callee, cause: x.callee + " did not answer: " + strange.cause()}
	}
	return &problem{status: http.StatusBadGateway, service: x.callee, cause: x.callee + " did not answer: " + plainCause(err)}
}

// statusClientClosed is what nginx logs for a client that did not wait; no
// client sees it.
const statusClientClosed = 499
