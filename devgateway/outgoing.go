package devgateway

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// headerField is a header that the gateway sets itself, beside those of the client.
type headerField struct{ name, value string }

// outgoing makes of a client's request the one that a service sees: without what
// was for the gateway alone, and with what the gateway has to say, in x.said. It
// changes the headers of r in place.
func (x *exchange) outgoing(r *http.Request) *http.Request {
	x.url = *r.URL // another one: records have the client's
	r.URL = &x.url
	r.URL.Scheme, r.URL.Host = "http", x.callee // until an instance is chosen
	r.Close = false
	if r.ContentLength == 0 {
		r.Body = http.NoBody // over HTTP/2 its end may be still to come
	}
	onlyHere(r.Header)
	cleanTrailer(r.Trailer) // what is announced; what comes is looked at when it does
	if x.route == nil {
		delete(r.Header, "Forwarded")
	} else {
		x.introduce(r)
		x.route.rewrite(r)
		x.route.ownHost(r)
	}
	delete(r.Header, "Traceparent")
	if !x.trace.came {
		delete(r.Header, "Tracestate")
	}
	x.say("Traceparent", x.trace.header())
	return r
}

func (x *exchange) say(name, value string) {
	if x.said == nil {
		x.said = x.room[:0]
	}
	x.said = append(x.said, headerField{name, value})
}

// introduce says who sent a request from outside, and how it arrived.
func (x *exchange) introduce(r *http.Request) {
	if address, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		x.say("X-Forwarded-For", address)
	}
	x.say("X-Forwarded-Host", r.Host)
	if r.TLS == nil {
		x.say("X-Forwarded-Proto", "http")
	} else {
		x.say("X-Forwarded-Proto", "https")
	}
	if x.route.URL != "" {
		x.say("Via", x.g.via)
	}
	if x.who == nil {
		return
	}
	x.say("X-Forwarded-User", x.who.Subject)
	if x.who.Email != "" {
		x.say("X-Forwarded-Email", x.who.Email)
	}
	if len(x.who.Roles) > 0 {
		x.say("X-Forwarded-Groups", strings.Join(x.who.Roles, ","))
	}
}

// onlyHere removes the headers of one connection (RFC 9110, 7.6.1), but a wish for
// WebSocket and for trailers.
func onlyHere(h http.Header) {
	upgrade, trailers := upgradeOf(h), len(h["Te"]) > 0 && httpguts.HeaderValuesContainsToken(h["Te"], "trailers")
	hopByHop(h)
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
}

// hopByHop removes the headers of one connection.
func hopByHop(h http.Header) {
	for _, names := range h["Connection"] {
		for name := range strings.SplitSeq(names, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range [...]string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// upgradeOf is the protocol that the sender of a head wants to go on with, or "".
// A wish for any other than WebSocket is none: a service that switched to h2c, say,
// would take requests that nobody has checked.
func upgradeOf(h http.Header) string {
	wanted := h["Upgrade"]
	if len(wanted) != 1 || !strings.EqualFold(wanted[0], "websocket") || !httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade") {
		return ""
	}
	return wanted[0]
}

// replacement is what takes the place of the route's prefix; "": the prefix stays.
func (r *Route) replacement() string {
	if r.StripPrefix {
		return "/"
	}
	return r.Rewrite
}

// rewrite replaces the route's prefix in the path.
func (c *compiled) rewrite(out *http.Request) {
	to := c.replacement()
	if to == "" {
		return
	}
	prefix := strings.TrimSuffix(c.Prefix, "/")
	if out.URL.RawPath != "" && !strings.HasPrefix(out.URL.RawPath, prefix) {
		out.URL.RawPath = "" // the prefix came encoded: the path is encoded anew
	}
	out.URL.Path = replaced(to, strings.TrimPrefix(out.URL.Path, prefix))
	if out.URL.RawPath != "" {
		out.URL.RawPath = replaced((&url.URL{Path: to}).EscapedPath(), strings.TrimPrefix(out.URL.RawPath, prefix))
	}
}

// replaced is a path with to in the place of its prefix. The rest begins with a slash,
// if there is any; without one, it is to as it was written.
func replaced(to, rest string) string {
	if rest == "" {
		return to
	}
	return strings.TrimSuffix(to, "/") + rest
}

// forTransport is the request as net/http's client takes it. Interim answers are
// passed on until settled is called: the client may have one in hand when the answer
// is there already.
func (x *exchange) forTransport(req *http.Request) (out *http.Request, settled func()) {
	var mu sync.Mutex
	over := false
	trace := &httptrace.ClientTrace{
		WroteHeaders: func() { x.written.Store(true) },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			mu.Lock()
			defer mu.Unlock()
			if !over {
				x.interim(code, http.Header(header))
			}
			return nil
		},
	}
	ctx, cancel := context.WithCancel(x.life.Context)
	x.life.onEnd(cancel)
	out = req.WithContext(httptrace.WithClientTrace(ctx, trace))
	out.Header = req.Header.Clone()
	for _, f := range x.said {
		out.Header.Add(f.name, f.value)
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // or it gets the client's own
	}
	return out, func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}
