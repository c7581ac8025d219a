package devgateway

import (
	"encoding/json"
	"net/http"
	"strings"
)

// reserved is where the gateway answers itself.
const reserved = "/.mesh"

// outside is the caller's name in records of requests from outside.
const outside = "gateway"

// Handler serves the routes of the current table. It is what [Gateway.Serve]
// serves.
func (g *Gateway) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		complete(r)
		x := g.newExchange(w, r, outside)
		x.w.watchAnswer(r, g.limits.stall)
		defer func() { x.w.finish(); x.observe(r) }()
		if x.preflight(r) {
			return
		}
		p := x.admit(r)
		x.tellOrigin(r)
		if p != nil {
			x.refuse(r, p)
			return
		}
		if x.route == nil || x.route.files != nil {
			x.leaveUnread(r)
		}
		if x.route == nil {
			x.answerItself(r)
			return
		}
		if x.route.files != nil {
			x.serveFile(r)
			return
		}
		x.forward(r)
	})
}

// refuse answers with a problem.
func (x *exchange) refuse(r *http.Request, p *problem) {
	x.problem = p
	x.leaveUnread(r)
	p.write(&x.w, r, x)
}

// admit decides about a request: it is refused, or gets a route and its
// sender a name. A request for the gateway itself gets no route.
func (x *exchange) admit(r *http.Request) *problem {
	g := x.g
	x.cors = g.cors.Load()
	if p := g.check(r); p != nil {
		return p
	}
	if g.comesBack(r) {
		return &problem{status: http.StatusLoopDetected, cause: "the request comes back to the gateway again and again: a route's url leads to the gateway"}
	}
	removeIdentity(r.Header)
	t := g.table.Load()
	if !validHost(r.Host) {
		return &problem{status: http.StatusBadRequest, cause: "the Host header is not valid"}
	}
	host := normalHost(r.Host)
	if !g.hostAllowed(r, host, t) {
		return &problem{status: http.StatusMisdirectedRequest, cause: "the gateway does not serve the host " + host + " (gateway.hosts in mesh.yaml adds one)"}
	}
	path, own := r.URL.Path, isOwn(r.URL.Path)
	var route *compiled
	var allow string
	if !own {
		route, allow = t.match(host, r.Method, path, r.Header)
	}
	if route != nil {
		x.cors = route.cors
	}
	if p := g.foreign(r, x.cors); p != nil {
		p.cause += ": cors of the route, or gateway.cors in mesh.yaml, names the origins that may"
		return p
	}
	if own {
		return nil
	}
	if route != nil && lenient(path) {
		if other, _ := t.match(host, r.Method, canonical(path), r.Header); other != route {
			return &problem{status: http.StatusBadRequest, cause: "the path could be read in more than one way"}
		}
	}
	if route == nil {
		return noRoute(r, allow)
	}
	x.route, x.callee = route, route.callee()
	var p *problem
	if x.who, p = g.authenticate(r, route); p != nil {
		return p
	}
	return x.limit(r)
}

// isOwn reports a path that the gateway answers itself.
func isOwn(path string) bool { return path == reserved || strings.HasPrefix(path, reserved+"/") }

// mostRounds is how often a request may come back: a service behind an outside URL
// may call the gateway, and pass all headers on.
const mostRounds = 5

// comesBack reports that the gateway has sent a request on to a URL too often.
func (g *Gateway) comesBack(r *http.Request) bool {
	return strings.Count(strings.Join(r.Header["Via"], ","), g.via) >= mostRounds
}

func noRoute(r *http.Request, allow string) *problem {
	if allow != "" {
		return &problem{status: http.StatusMethodNotAllowed, allow: allow, cause: "the route does not take " + r.Method}
	}
	return &problem{status: http.StatusNotFound, cause: "no route for " + r.Method + " " + r.URL.Path + " (mesh routes lists them)"}
}

// answerItself serves what is below /.mesh.
func (x *exchange) answerItself(r *http.Request) {
	w := &x.w
	var value any
	switch r.URL.Path {
	case reserved + "/health":
		value = map[string]string{"status": "ok"}
	case reserved + "/routes":
		value = x.g.Routes()
	default:
		x.refuse(r, &problem{status: http.StatusNotFound, cause: "the gateway has no " + r.URL.Path + ", only " + reserved + "/health and " + reserved + "/routes"})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		x.refuse(r, &problem{status: http.StatusMethodNotAllowed, allow: "GET, HEAD", cause: r.URL.Path + " does not take " + r.Method})
		return
	}
	body, err := json.Marshal(value)
	if err != nil { // routes and strings cannot fail
		x.refuse(r, &problem{status: http.StatusInternalServerError, cause: err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n'))
}

// linkHandler serves a link: a service that is known calls another. There is
// no route and no check of tokens; the callee does that, as it would in
// production.
func (g *Gateway) linkHandler(caller, callee string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		complete(r)
		x := g.newExchange(w, r, caller)
		x.callee = callee
		defer x.observe(r)
		if p := g.admitLink(r); p != nil {
			x.refuse(r, p)
			return
		}
		x.forward(r)
	})
}

func (g *Gateway) admitLink(r *http.Request) *problem {
	switch {
	case unserved(r.Method):
		return &problem{status: http.StatusMethodNotAllowed, cause: r.Method + " is not served"}
	case !validHost(r.Host) || !g.hostAllowed(r, normalHost(r.Host), nil):
		return &problem{status: http.StatusMisdirectedRequest, cause: "a link is reached by its address only"}
	}
	// It has no tokens to ask for, and no other origins.
	return g.foreign(r, nil)
}
