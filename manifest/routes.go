package manifest

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	methodPattern = regexp.MustCompile(`^[A-Z]+$`)
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9_.:\[\]-]+$`)
)

func (c *checker) routes() {
	for i, route := range c.s.Routes {
		at := []any{"routes", i}
		if (route.Path == "") == (route.Prefix == "") {
			c.fail(at, "a route takes either path or prefix")
		}
		c.routePath(append(at, "path"), route.Path)
		c.routePath(append(at, "prefix"), route.Prefix)
		c.methods(append(at, "methods"), route.Methods)
		if fault := hostFault(route.Host); route.Host != "" && fault != "" {
			c.fail(append(at, "host"), "%q is no host: %s", route.Host, fault)
		}
		if route.StripPrefix && route.Prefix == "" {
			c.fail(append(at, "strip_prefix"), "only a prefix can be stripped")
		}
		c.checkRetries(c.s.source, c.s.path(append(at, "retries")...), route.Retries)
		if !c.s.Listens() {
			c.fail(at, "a %s has no port to route to", c.s.Kind)
		}
		if route.Auth != AuthRequired && len(route.Roles)+len(route.Scopes) > 0 {
			c.fail(at, "roles and scopes need auth: required")
		}
	}
}

// routePath checks a path or a prefix: the gateway refuses requests whose path could
// be read in two ways, so a route that needs such a path would never match.
func (c *checker) routePath(at []any, place string) {
	switch {
	case place == "":
	case !strings.HasPrefix(place, "/"):
		c.fail(at, "%q is no path: it starts with /", place)
	case strings.Contains(place, "%"):
		c.fail(at, "%q can match nothing: write it decoded, without %%", place)
	case strings.ContainsFunc(place, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`\?#;`, r) }):
		c.fail(at, "%q can match nothing: a path has no space, \\, ?, #, ; or control character", place)
	case cleaned(place) != place:
		c.fail(at, "%q can match nothing: the gateway refuses . and .. and // in a path; write it as %s", place, cleaned(place))
	case place == "/.mesh" || strings.HasPrefix(place, "/.mesh/"):
		c.fail(at, "/.mesh is the gateway's own")
	}
}

// checkRetries holds that what is sent again was a failure of the server's.
func (l *loader) checkRetries(src *source, at []any, r *Retries) {
	for i, code := range r.Codes {
		if code < 500 || code > 599 {
			l.problems = append(l.problems, src.problem(append(at, "codes", i), "%d is no failure that passes: give codes from 500 to 599", code))
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

func (c *checker) methods(at []any, methods []string) {
	for i, method := range methods {
		switch upper := strings.ToUpper(method); {
		case !methodPattern.MatchString(upper):
			c.fail(append(at, i), "%q is no method", method)
		case method != upper:
			c.fail(append(at, i), "%q is no method: write it as %s", method, upper)
		case method == "CONNECT" || method == "TRACE":
			c.fail(append(at, i), "the gateway does not serve %s", method)
		}
	}
}

// hostFault says why no request names such a host, or "".
func hostFault(host string) string {
	switch {
	case strings.Contains(host, "*"):
		return "each is written out, without *"
	case !hostPattern.MatchString(host):
		return "write it as shop.example.test"
	}
	return ""
}

// checkRouteClashes finds routes that no request could choose between.
func (l *loader) checkRouteClashes() {
	type seen struct {
		route   Route
		service string
	}
	byPlace := map[string][]seen{}
	for _, s := range l.ws.Services {
		for i, r := range s.Routes {
			place := strings.ToLower(r.Host) + "|" + r.Path + "|" + r.Prefix
			for _, other := range byPlace[place] {
				if overlap(r.Methods, other.route.Methods) && len(r.Headers) == len(other.route.Headers) && sameHeaders(r.Headers, other.route.Headers) {
					l.problems = append(l.problems, s.problem([]any{"routes", i}, "this route clashes with one of %s at %s", other.service, other.route.Position))
				}
			}
			byPlace[place] = append(byPlace[place], seen{r, s.Name})
		}
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

func sameHeaders(a, b map[string]string) bool {
	for key, value := range a {
		if b[key] != value {
			return false
		}
	}
	return true
}
