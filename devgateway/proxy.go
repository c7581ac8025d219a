package devgateway

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"
)

// newProxy makes the one ReverseProxy of a gateway. What differs from one
// request to the next is in its exchange.
//
// It uses Rewrite and not Director: a Director's headers are subject to the
// client's Connection header, which could name, and so delete, the identity
// that the gateway set.
func (g *Gateway) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      (*balancer)(g),
		BufferPool:     &buffers{},
		ModifyResponse: func(res *http.Response) error { exchangeOf(res.Request.Context()).arrived(res); return nil },
		ErrorHandler:   g.proxyFailed,
		ErrorLog:       log.New(io.Discard, "", 0), // what it logs, the records say
	}
}

// rewrite makes the request that a service sees.
func rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	out := pr.Out
	out.URL.Scheme = "http"
	out.URL.Host = x.callee       // the balancer puts an address here
	removeIdentity(pr.In.Trailer) // what is announced; what comes is looked at when it does
	out.Trailer = pr.In.Trailer
	if x.route == nil {
		out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
		out.Header["X-Forwarded-Host"] = pr.In.Header["X-Forwarded-Host"]
		out.Header["X-Forwarded-Proto"] = pr.In.Header["X-Forwarded-Proto"]
	} else {
		pr.SetXForwarded()
		setIdentity(out.Header, x.who)
		x.route.strip(out)
		x.route.ownHost(out)
		if x.route.URL != "" {
			out.Header.Add("Via", x.g.via)
		}
	}
	x.trace.set(out.Header)
}

// strip removes the route's prefix from the path.
func (c *compiled) strip(out *http.Request) {
	if !c.StripPrefix {
		return
	}
	prefix := strings.TrimSuffix(c.Prefix, "/")
	if out.URL.RawPath != "" && !strings.HasPrefix(out.URL.RawPath, prefix) {
		out.URL.RawPath = "" // the prefix came encoded: the path is encoded anew
	}
	out.URL.Path = rooted(strings.TrimPrefix(out.URL.Path, prefix))
	if out.URL.RawPath != "" {
		out.URL.RawPath = rooted(strings.TrimPrefix(out.URL.RawPath, prefix))
	}
}

func rooted(path string) string {
	if strings.HasPrefix(path, "/") {
		return path
	}
	return "/" + path
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

// transport chooses the protocol. gRPC needs HTTP/2 whatever is known about
// the instance; an upgrade needs HTTP/1.1.
func (g *Gateway) transport(e *endpoint, req *http.Request) http.RoundTripper {
	if goesDirect(e, req) {
		return &e.direct
	}
	if isGRPC(req.Header) || e.HTTP2 && req.Header.Get("Upgrade") == "" {
		return g.http2
	}
	return g.http1
}

// dial connects to an instance, which is near: what takes long is not there.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 2 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, addr)
}

// isDial says whether a request failed before a byte of it was sent.
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

func (g *Gateway) proxyFailed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.problem = x.failed(err)
	if malformed(r.Context()) {
		x.problem = &problem{status: http.StatusBadRequest, cause: "the request's body is not well formed"}
	}
	x.problem.write(w, r, x)
}

// buffers is the pool of the buffers that bodies are copied through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }

var _ httputil.BufferPool = (*buffers)(nil)
