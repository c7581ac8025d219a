package manifest

import (
	"net/url"
	"slices"
	"strings"
)

// checkCORS holds that browsers can send such origins, and read such headers. What a
// route does not say itself is checked where the gateway says it.
func (l *loader) checkCORS(src *source, at []any, c *CORS) {
	if c == nil {
		return
	}
	if origins := below(at, "origins"); src.has(origins) {
		l.checkOrigins(src, origins, c.Origins)
	}
	if expose := below(at, "expose"); src.has(expose) {
		l.checkExposed(src, expose, c)
	}
}

func below(at []any, steps ...any) []any { return append(slices.Clone(at), steps...) }

// checkOrigins holds that an origin is a scheme, a host and perhaps a port (RFC
// 6454), or any.
func (l *loader) checkOrigins(src *source, at []any, origins []string) {
	for i, origin := range origins {
		u, err := url.Parse(origin)
		switch {
		case err == nil && u.Port() != "" && u.Port() == map[string]string{"http": "80", "https": "443"}[u.Scheme]:
			l.problems = append(l.problems, src.problem(below(at, i), "browsers leave out a port that is the scheme's own: write %s", strings.TrimSuffix(origin, ":"+u.Port())))
		case origin != "*" && (err != nil || u.Host == "" || u.Scheme == "" || u.Scheme+"://"+u.Host != origin):
			l.problems = append(l.problems, src.problem(below(at, i), "%q is no origin: write it as http://localhost:5173, or \"*\" for any", origin))
		}
	}
}

// checkExposed holds that what is exposed are headers. "*" is all of them only where no
// cookies are sent (the Fetch standard, Access-Control-Expose-Headers).
func (l *loader) checkExposed(src *source, at []any, c *CORS) {
	for i, name := range c.Expose {
		switch {
		case !headerPattern().MatchString(name):
			l.problems = append(l.problems, src.problem(below(at, i), "%q is no name of a header", name))
		case name == "*" && !slices.Contains(c.Origins, "*"):
			l.problems = append(l.problems, src.problem(below(at, i), "\"*\" exposes nothing to origins that are named, since their requests have cookies: name the headers"))
		}
	}
}
