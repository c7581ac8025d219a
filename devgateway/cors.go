package devgateway

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// SetCORS names the origins whose pages may call the gateway from a browser (the
// Fetch standard, CORS protocol); none: no other origin's. "*" is any, and then
// browsers send no cookies.
func (g *Gateway) SetCORS(origins []string) {
	if len(origins) == 0 {
		g.cors.Store(nil)
		return
	}
	g.cors.Store(cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowedMethods:   []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders:   []string{"*"},
		ExposedHeaders:   []string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Retry-After", "Www-Authenticate"},
		AllowCredentials: !slices.Contains(origins, "*"),
		MaxAge:           600,
	}))
}

// crossOrigin answers a preflight, and gives other requests the headers that
// their page needs. It reports whether the request was answered.
func (x *exchange) crossOrigin(r *http.Request) bool {
	c := x.g.cors.Load()
	if c == nil || r.Header.Get("Origin") == "" {
		return false
	}
	preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	if preflight {
		x.leaveUnread(r)
	}
	c.HandlerFunc(&x.w, r)
	return preflight
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
// decides, and two answers are none to a browser.
func (g *Gateway) onlyOurCORS(h http.Header) {
	if g.cors.Load() == nil {
		return
	}
	for name := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			h.Del(name)
		}
	}
}
