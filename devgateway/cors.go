package devgateway

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// CORS names the origins whose pages may send requests from a browser (the Fetch
// standard, CORS protocol), and what they may read of the answers. The zero CORS leaves
// that to the service.
type CORS struct {
	Origins []string `json:"origins,omitempty"` // "*" is any, and then browsers send no cookies; none, where it is not nil, is nobody
	Expose  []string `json:"expose,omitempty"`  // headers, beside those that the gateway itself sets
}

// SetCORS says who may read what has no route: errors, and what is below /.mesh. Routes
// say it themselves.
func (g *Gateway) SetCORS(c CORS) { g.cors.Store(newCORS(c, nil)) }

// newCORS is nil where nothing is said of other origins. Without methods it is those
// that pages commonly use.
func newCORS(c CORS, methods []string) *cors.Cors {
	switch {
	case c.Origins == nil:
		return nil
	case len(c.Origins) == 0: // which the library takes for all
		return cors.New(cors.Options{AllowOriginFunc: func(string) bool { return false }})
	}
	if len(methods) == 0 {
		methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	}
	return cors.New(cors.Options{
		AllowedOrigins:   c.Origins,
		AllowedMethods:   methods,
		AllowedHeaders:   []string{"*"},
		ExposedHeaders:   append([]string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Retry-After", "Www-Authenticate"}, c.Expose...),
		AllowCredentials: !slices.Contains(c.Origins, "*"),
		MaxAge:           600,
	})
}

// preflight answers what a browser asks before it sends a request of another origin's
// page, as the route says that the request will have. It reports whether it did: where
// the gateway knows no other origin, the service may.
func (x *exchange) preflight(r *http.Request) bool {
	if !isPreflight(r) {
		return false
	}
	c := x.g.cors.Load()
	if !isOwn(r.URL.Path) {
		if route := x.g.table.Load().announced(r); route != nil {
			c = route.cors
		}
	}
	if c == nil {
		return false
	}
	x.leaveUnread(r)
	c.HandlerFunc(&x.w, r)
	return true
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// anyValue stands for the value of a header that a preflight only names. No header that
// comes by itself can have it.
const anyValue = "\x00"

// announced is the route of the request that a preflight is for, or nil.
func (t *Table) announced(r *http.Request) *compiled {
	header := http.Header{}
	for _, names := range r.Header["Access-Control-Request-Headers"] {
		for name := range strings.SplitSeq(names, ",") {
			header.Set(strings.TrimSpace(name), anyValue)
		}
	}
	route, _ := t.match(normalHost(r.Host), r.Header.Get("Access-Control-Request-Method"), r.URL.Path, header)
	return route
}

// tellOrigin gives an answer the headers that a page of another origin needs to read
// it. That it depends on the origin is said to all: a cache may give the answer to a
// page.
func (x *exchange) tellOrigin(r *http.Request) {
	switch {
	case x.cors == nil || isPreflight(r): // which has got its answer, or gets none
	case r.Header.Get("Origin") == "":
		x.w.Header()["Vary"] = []string{"Origin"}
	default:
		x.cors.HandlerFunc(&x.w, r)
	}
}

// foreign refuses what a page of another origin has the developer's browser send,
// unless the workspace names that origin: requests that may change something, and
// WebSockets, whose handshake is a GET that no preflight asks for. Who is no browser
// says nothing of an origin.
func (g *Gateway) foreign(r *http.Request, allowed *cors.Cors) *problem {
	asked := r
	if upgradeOf(r.Header) != "" {
		asked = &http.Request{Method: http.MethodPost, Host: r.Host, Header: r.Header}
	}
	if g.browsers.Check(asked) == nil || allowed != nil && allowed.OriginAllowed(r) {
		return nil
	}
	return &problem{status: http.StatusForbidden, cause: "a page of another origin (" + cmp.Or(r.Header.Get("Origin"), "unknown") + ") may not send this"}
}

// onlyOurCORS removes what a service says about other origins: the gateway
// decides, and two answers are none to a browser. Which headers a page may read of
// an answer, the service knows as well.
func (x *exchange) onlyOurCORS(h http.Header) {
	if x.cors == nil {
		return
	}
	readable := len(x.w.Header()["Access-Control-Allow-Origin"]) > 0
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") && (!readable || name != "Access-Control-Expose-Headers") {
			delete(h, name)
		}
	}
}
