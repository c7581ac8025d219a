package manifest

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/ebef7166/mesh/internal/lazyregexp"
)

var (
	methodPattern = lazyregexp.New(`^[A-Z][A-Z-]*$`) // as those of the IANA registry, such as M-SEARCH
	headerPattern = lazyregexp.New("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	hostPattern   = lazyregexp.New(`^[A-Za-z0-9_.:\[\]-]+$`)
)

// routes checks those of a service.
func (c *checker) routes() {
	for i, route := range c.s.Routes {
		r := &routeChecker{loader: c.loader, source: c.s.source, at: c.s.path("routes", i), route: route}
		r.check()
		switch {
		case route.URL != "":
			r.fail("url", "a service's route leads to the service: gateway.routes of %s takes a URL, and a service that runs elsewhere a url of its own", WorkspaceFile)
		case route.Static == "" && !c.s.Listens():
			r.fail("", "a %s has no port to route to", c.s.Kind)
		}
	}
}

// checkOwnRoutes checks those of the workspace itself.
func (l *loader) checkOwnRoutes() {
	for i, route := range l.ws.Gateway.Routes {
		r := &routeChecker{loader: l, source: l.source, at: []any{"gateway", "routes", i}, route: route}
		r.check()
		switch {
		case (route.Static == "") == (route.URL == ""):
			r.fail("", "a route of the workspace takes either static or url; one to a service stands in that service's manifest")
		case leadsTo(route.URL, l.ws.Gateway.Address):
			r.fail("url", "%s is the gateway itself: requests would go round and round", route.URL)
		case route.URL != "" && !isOrigin(route.URL):
			r.fail("url", "%q is no address that mesh can send requests to: write it as http://host:port or https://host, without a path", route.URL)
		}
	}
}

// leadsTo reports that a URL is of what listens at an address; localhost is any of
// loopback.
func leadsTo(to, address string) bool {
	u, err := url.Parse(to)
	host, port, bad := net.SplitHostPort(address)
	if err != nil || bad != nil || u.Port() != port {
		return false
	}
	local := (u.Hostname() == "localhost" || host == "localhost") && loopback(u.Hostname()) && loopback(host)
	return u.Hostname() == host || local
}

// routeChecker checks one route.
type routeChecker struct {
	*loader
	source *source
	at     []any
	route  Route
}

// fail points at a key of the route, or at all of it.
func (c *routeChecker) fail(key string, format string, args ...any) {
	c.failAt(c.key(key), format, args...)
}

func (c *routeChecker) failAt(at []any, format string, args ...any) {
	c.problems = append(c.problems, c.source.problem(at, format, args...))
}

func (c *routeChecker) key(steps ...any) []any {
	if steps[0] == "" {
		return c.at
	}
	return append(slices.Clone(c.at), steps...)
}

func (c *routeChecker) check() {
	route := c.route
	if (route.Path == "") == (route.Prefix == "") {
		c.fail("", "a route takes either path or prefix")
	}
	c.routePath(c.key("path"), route.Path)
	c.routePath(c.key("prefix"), route.Prefix)
	c.methods(route.Methods)
	c.headers(route.Headers)
	if fault := hostFault(route.Host); route.Host != "" && fault != "" {
		c.fail("host", "%q is no host: %s", route.Host, fault)
	}
	if route.StripPrefix && route.Prefix == "" {
		c.fail("strip_prefix", "only a prefix can be stripped")
	}
	c.rewrite()
	c.checkCORS(c.source, c.key("cors"), route.CORS)
	if route.Auth != AuthRequired && len(route.Roles)+len(route.Scopes) > 0 {
		c.fail("", "roles and scopes need auth: required")
	}
	c.checkRetries(c.source, c.key("retries"), route.Retries)
	if route.RateLimit != c.ws.Gateway.RateLimit { // which is checked there
		c.rateLimit(c.source, c.key("rate_limit"), route.RateLimit)
	}
	c.files()
}

// files holds that what is served is there, and of the right kind. A folder that a
// build has yet to make is no error.
func (c *routeChecker) files() {
	route := c.route
	info, err := os.Stat(route.Static)
	switch {
	case route.Static == "" && route.SPA:
		c.fail("spa", "spa goes with static: it says what to answer where there is no file")
	case route.Static == "":
	case route.StripPrefix:
		c.fail("strip_prefix", "files are looked up below the prefix: strip_prefix says nothing more")
	case route.SPA && route.Prefix == "":
		c.fail("spa", "spa goes with a prefix: a path has one file")
	case errors.Is(err, fs.ErrNotExist):
		c.warnFiles("%s is not there yet: the gateway answers 503 until it is", c.place(route.Static))
	case err != nil:
		c.fail("static", "%s: %s", c.place(route.Static), readFailure(err))
	case route.Prefix != "" && !info.IsDir():
		c.fail("static", "%s is no folder: one file is served with path", c.place(route.Static))
	case route.Path != "" && info.IsDir():
		c.fail("static", "%s is a folder: it is served with prefix", c.place(route.Static))
	case route.SPA && !exists(filepath.Join(route.Static, "index.html")):
		c.warnFiles("%s has no index.html yet: the gateway answers pages with 503 until it has", c.place(route.Static))
	}
	if route.Static != "" {
		c.filesOnly("methods", "the gateway reads files for GET and HEAD, and answers 405 to anything else")
		c.filesOnly("rewrite", "files are looked up below the prefix")
		c.filesOnly("retries", "a file is read from disk, and nothing is sent that could be sent again")
	}
}

func (c *routeChecker) warnFiles(format string, args ...any) {
	c.ws.Warnings = append(c.ws.Warnings, c.source.problem(c.key("static"), format, args...))
}

// filesOnly refuses a key that would mean nothing beside static.
func (c *routeChecker) filesOnly(key, why string) {
	if c.source.has(c.key(key)) {
		c.failAt(c.key(key), "%s has no meaning beside static: %s", key, why)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// headers holds that a request can have them: the gateway removes those that say
// who its sender is before it looks for a route.
func (c *routeChecker) headers(headers map[string]string) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, other := headers[name], seen[http.CanonicalHeaderKey(name)]
		seen[http.CanonicalHeaderKey(name)] = name
		switch canonical := http.CanonicalHeaderKey(name); {
		case !headerPattern().MatchString(name):
			c.failAt(c.key("headers", name), "%q is no name of a header", name)
		case strings.HasPrefix(canonical, "X-Forwarded-") || canonical == "Forwarded" || strings.HasPrefix(canonical, "X-Auth-Request-"):
			c.failAt(c.key("headers", name), "the gateway removes %s from requests before it looks for a route", canonical)
		case canonical == "Host":
			c.failAt(c.key("headers", name), "host: says which host a route is for")
		case other != "":
			c.failAt(c.key("headers", name), "%s and %s are one header", other, name)
		case value != strings.TrimSpace(value) || strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }):
			c.failAt(c.key("headers", name), "%q can match nothing: a value has no space at its ends, and no control character", value)
		}
	}
}

// routePath checks a path or a prefix: the gateway refuses requests whose path could
// be read in two ways, so a route that needs such a path would never match.
func (c *routeChecker) routePath(at []any, place string) {
	switch {
	case place == "":
	case !strings.HasPrefix(place, "/"):
		c.failAt(at, "%q is no path: it starts with /", place)
	case strings.Contains(place, "%"):
		c.failAt(at, "%q can match nothing: write it decoded, without %%", place)
	case strings.ContainsFunc(place, notInPath):
		c.failAt(at, "%q can match nothing: a path has no space, \\, ?, #, ; or control character", place)
	case cleaned(place) != place:
		c.failAt(at, "%q can match nothing: the gateway takes no . and .. in a path, and // only where / leads to the same route; write it as %s", place, cleaned(place))
	case place == "/.mesh" || strings.HasPrefix(place, "/.mesh/"):
		c.failAt(at, "/.mesh is the gateway's own")
	}
}

// rewrite checks what takes the place of the prefix.
func (c *routeChecker) rewrite() {
	switch to := c.route.Rewrite; {
	case to == "":
	case c.route.Prefix == "":
		c.fail("rewrite", "only a prefix can be rewritten")
	case c.route.StripPrefix:
		c.fail("rewrite", "strip_prefix is the same as rewrite: /; give one of them")
	case !strings.HasPrefix(to, "/"):
		c.fail("rewrite", "%q is no path: it starts with /", to)
	case strings.ContainsFunc(to, notInPath):
		c.fail("rewrite", "%q is no plain path: write it decoded, without %%, space, \\, ?, #, ; and control characters", to)
	case cleaned(to) != to:
		c.fail("rewrite", "%q has . or .. or // in it: write it as %s", to, cleaned(to))
	}
}

func notInPath(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`%\?#;`, r) }

// checkRetries holds that what is sent again was a failure of the server's.
func (l *loader) checkRetries(src *source, at []any, r *Retries) {
	codes := below(at, "codes")
	if !src.has(codes) {
		return // they are the gateway's, and checked there
	}
	for i, code := range r.Codes {
		if code < 500 || code > 599 {
			l.problems = append(l.problems, src.problem(append(codes, i), "%d is no failure that passes: give codes from 500 to 599", code))
		}
	}
}

// cleaned is a path without what could be read in two ways.
func cleaned(place string) string {
	short := path.Clean(place)
	if strings.HasSuffix(place, "/") && short != "/" {
		short += "/"
	}
	return short
}

func (c *routeChecker) methods(methods []string) {
	for i, method := range methods {
		switch upper := strings.ToUpper(method); {
		case !methodPattern().MatchString(upper):
			c.failAt(c.key("methods", i), "%q is no method", method)
		case method != upper:
			c.failAt(c.key("methods", i), "%q is no method: write it as %s", method, upper)
		case method == "CONNECT" || method == "TRACE":
			c.failAt(c.key("methods", i), "the gateway does not serve %s", method)
		}
	}
}

// hostFault says why no request names such a host, or "".
func hostFault(host string) string {
	switch {
	case strings.Contains(host, "*"):
		return "each is written out, without *"
	case !hostPattern().MatchString(host):
		return "write it as shop.example.test"
	}
	return ""
}

// placed is a route with where it stands.
type placed struct {
	Route
	owner  string
	source *source
	at     []any
}

// allRoutes are those of the workspace and of its services.
func (l *loader) allRoutes() (all []placed) {
	for i, r := range l.ws.Gateway.Routes {
		all = append(all, placed{r, "the workspace", l.source, []any{"gateway", "routes", i}})
	}
	for _, s := range l.ws.Services {
		for i, r := range s.Routes {
			all = append(all, placed{r, s.Name, s.source, s.path("routes", i)})
		}
	}
	return all
}

// checkRouteClashes finds routes that no request could choose between.
func (l *loader) checkRouteClashes() {
	byPlace := map[string][]placed{}
	for _, r := range l.allRoutes() {
		place := strings.ToLower(r.Host) + "|" + r.Path + "|" + r.Prefix
		for _, other := range byPlace[place] {
			if overlap(r.Methods, other.Methods) && undecided(r.Headers, other.Headers) {
				l.problems = append(l.problems, r.source.problem(r.at, "this route clashes with one of %s at %s", other.owner, other.Position))
			}
		}
		byPlace[place] = append(byPlace[place], r)
	}
}

func overlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b) // naming methods is more specific than naming none
	}
	return slices.ContainsFunc(a, func(m string) bool {
		return slices.ContainsFunc(b, func(n string) bool { return strings.EqualFold(m, n) })
	})
}

// undecided reports that a request may have the headers of both: naming more is
// more specific, and another value of the same header is another request.
func undecided(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		for other, otherValue := range b {
			if strings.EqualFold(name, other) && value != otherValue {
				return false
			}
		}
	}
	return true
}
