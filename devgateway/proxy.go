package devgateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// forward sends a request on its way and waits for its end.
func (x *exchange) forward(r *http.Request) {
	if x.old = !r.ProtoAtLeast(1, 1); x.old {
		delete(r.Header, "Upgrade") // of HTTP/1.0 it is ignored (RFC 9110, 7.8)
	}
	r = x.begin(r) // another request: net/http looks at its own one's body when the answer begins
	defer x.finish()
	if x.route != nil {
		if limit := x.route.BodyLimit; limit > 0 {
			if r.ContentLength > limit {
				x.refuse(r, x.failed(&http.MaxBytesError{Limit: limit}))
				return
			}
			r.Body = http.MaxBytesReader(x.w.ResponseWriter, r.Body, limit)
		}
		x.watchBody(r)
		x.limitTime()
	}
	if x.web = webCallOf(r.Header); x.web != nil {
		x.web.toGRPC(r)
	}
	res, err := x.send(x.outgoing(r))
	switch {
	case err != nil:
		x.proxyFailed(r, err)
	case res.StatusCode == http.StatusSwitchingProtocols:
		x.arrived(res)
		x.switchProtocols(r, res)
	default:
		if !x.sent.all() {
			x.leaveUnread(r)
		}
		x.answer(r, res)
	}
}

// answer passes an answer on. One that breaks off breaks the client's connection off:
// there is no other way to say that it is not whole.
func (x *exchange) answer(r *http.Request, res *http.Response) {
	defer res.Body.Close()
	hopByHop(res.Header)
	if x.web != nil {
		x.web.fromGRPC(res)
	}
	x.arrived(res)
	h := x.w.Header()
	add(h, res.Header)
	if res.StatusCode == http.StatusNoContent {
		delete(h, "Content-Length") // wrong, and over HTTP/2 an error of the stream (RFC 9110, 8.6)
	}
	announced := len(res.Trailer)
	if announced > 0 && x.web == nil {
		h["Trailer"] = []string{strings.Join(slices.Sorted(maps.Keys(res.Trailer)), ", ")}
		if r.ProtoMajor == 1 && !x.old && r.Method != http.MethodHead { // beside a length it has none (RFC 9112, 7.1.2)
			delete(h, "Content-Length")
		}
	}
	x.w.WriteHeader(res.StatusCode)
	if err := x.copyBody(res); err != nil {
		x.problem = &problem{cause: x.brokeOff(err)}
		panic(http.ErrAbortHandler)
	}
	res.Body.Close() // net/http's fills Trailer
	x.judgeTrailer(res)
	if len(res.Trailer) == 0 {
		return
	}
	if x.web != nil && isGRPC(res.Header) {
		_ = x.write(x.web.lastFrame(res.Trailer)) // a client that left
		return
	}
	// A body that was sent in chunks can have trailers; net/http would give a short
	// one a length.
	_ = x.w.FlushError()
	if len(res.Trailer) == announced {
		add(h, res.Trailer)
		return
	}
	for name, values := range res.Trailer {
		h[http.TrailerPrefix+name] = values
	}
}

// errClient: it was the client that an answer could not be passed on to.
var errClient = errors.New("the client went away")

// brokeOff says for the record why an answer is not whole.
func (x *exchange) brokeOff(err error) string {
	if errors.Is(err, errClient) || errors.Is(err, context.Canceled) {
		return errClient.Error()
	}
	return fmt.Sprintf("the answer of %s broke off after %d bytes: %s", x.callee, x.w.bytes, plainCause(err))
}

// add puts headers beside those that are there. They share their values.
func add(to, from http.Header) {
	for name, values := range from {
		if before := to[name]; len(before) > 0 {
			values = slices.Concat(before, values)
		}
		to[name] = values
	}
}

// copyBody passes a body on, each part of it at once, as long as there is more to
// come. What has no length may be a stream: its head goes out before there is any. But
// the head of an answer without a body says itself that it is all: gRPC's clients take
// a status for one in no other place.
//
// A stream that the gateway ends stops in order: server-sent events are over, a gRPC
// call gets a status that tells its client to try again.
func (x *exchange) copyBody(res *http.Response) error {
	if res.ContentLength < 0 && !atHand(res.Body) {
		_ = x.w.FlushError() // what is wrong with the connection, the next write says
	}
	for {
		err := x.copyPart(res.Body)
		switch {
		case errors.Is(err, io.EOF):
			cleanTrailer(res.Trailer)
			return nil
		case err != nil && x.ended.Load():
			if isGRPC(res.Header) {
				res.Trailer = http.Header{
					"Grpc-Status":  {grpcUnavailable},
					"Grpc-Message": {"the instance of " + x.callee + " is being replaced"},
				}
			}
			return nil
		case err != nil:
			return err
		case x.w.bytes != res.ContentLength:
			_ = x.w.FlushError()
		}
	}
}

// copyPart waits for a part of a body and passes it on. No buffer is held while it
// waits for a stream.
func (x *exchange) copyPart(body io.Reader) error {
	if b, ok := body.(*directBody); ok {
		if rest := b.rest(); len(rest) > 0 {
			err := x.write(rest)
			b.skip(len(rest))
			return err
		}
		b.await()
	}
	p := bodies.Get().(*[bufferSize]byte)
	defer bodies.Put(p)
	n, err := body.Read(p[:])
	if n > 0 {
		if err := x.write(p[:n]); err != nil {
			return err
		}
	}
	return err
}

func (x *exchange) write(part []byte) error {
	if _, err := x.w.Write(part); err != nil {
		return errors.Join(errClient, err)
	}
	return nil
}

// interim passes on an answer of 1xx (RFC 9110, 15.2). It leaves the headers of the
// answer that is to come as they are.
func (x *exchange) interim(code int, header http.Header) {
	if x.old { // it would take that for the answer
		return
	}
	hopByHop(header)
	h := x.w.Header()
	before := maps.Clone(h)
	clear(h)
	x.onlyOurCORS(header)
	add(h, header)
	x.w.WriteHeader(code)
	clear(h)
	maps.Copy(h, before)
}

type noInstance struct{ cause string }

func (e *noInstance) Error() string { return e.cause }

// nobody explains that no instance can take a request.
func (g *Gateway) nobody(ctx context.Context, service string, refused error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cause := service + " has no healthy instance"
	if refused != nil {
		cause = service + " takes no connection: " + plainCause(refused)
	} else if g.config.Why != nil {
		if why := g.config.Why(service); why != "" {
			cause += ": " + why
		}
	}
	return &noInstance{cause}
}

// roundTrip sends a request to an instance and returns the head of its answer.
func (x *exchange) roundTrip(e *endpoint, req *http.Request) (*http.Response, error) {
	res, err := x.over(e, req)
	if err == nil && res.StatusCode < 100 {
		res.Body.Close()
		return nil, errors.New("the status of its answer is not valid: " + res.Status)
	}
	return res, err
}

// over chooses the version of HTTP. gRPC needs HTTP/2 whatever is known about the
// instance; an upgrade needs HTTP/1.1.
func (x *exchange) over(e *endpoint, req *http.Request) (*http.Response, error) {
	if goesDirect(e, req) {
		return e.direct.roundTrip(&x.life, req, x.said, x.interim)
	}
	out, settled := x.forTransport(req)
	defer settled()
	upgrade := len(req.Header["Upgrade"]) > 0
	http2 := isGRPC(req.Header) || e.HTTP2 && !upgrade
	transport := x.g.http1
	if http2 {
		transport = x.g.http2
	}
	res, err := transport.RoundTrip(out)
	if http2 != e.HTTP2 && !e.TLS { // over which both sides agree on one
		return e.askedOtherwise(res, err, upgrade)
	}
	return res, err
}

// askedOtherwise looks at what came of a version of HTTP that the client's request
// needs and the instance is not known to speak. That it answers shows that it does.
func (e *endpoint) askedOtherwise(res *http.Response, err error, upgrade bool) (*http.Response, error) {
	switch {
	case err == nil && !e.bilingual.Load():
		e.bilingual.Store(true)
	case err != nil && !e.bilingual.Load() && !isDial(err):
		err = &notSpoken{err, upgrade}
	}
	return res, err
}

// notSpoken is the failure of an instance to answer in a version of HTTP that it is not
// known to speak: a client asked for it, and the instance may be well.
type notSpoken struct {
	error
	upgrade bool
}

func (e *notSpoken) Unwrap() error { return e.error }

func (e *notSpoken) cause() string {
	if e.upgrade {
		return "it does not seem to speak HTTP/1.1, which WebSocket needs: " + plainCause(e.error)
	}
	return "it does not seem to speak HTTP/2, which gRPC needs: " + plainCause(e.error)
}

// dial connects to an instance, which is near: what takes long is not there.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, addr)
}

// isDial says whether there was no connection to send a request over.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// plainCause is the innermost error, without the addresses around it.
func plainCause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it closed the connection"
	}
	return err.Error()
}

func (x *exchange) proxyFailed(r *http.Request, err error) {
	p := x.failed(err)
	if malformed(r.Context()) {
		p = &problem{status: http.StatusBadRequest, cause: "the request's body is not well formed"}
	}
	x.refuse(r, p)
}

// bodies are the buffers that bodies are copied through.
var bodies = sync.Pool{New: func() any { return new([bufferSize]byte) }}

const bufferSize = 64 << 10
