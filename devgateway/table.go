package devgateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rs/cors"
)

// Auth values of a route.
const (
	AuthRequired = "required"
	AuthOptional = "optional" // without a token: nobody; with one, it must be good
	AuthNone     = "none"
)

// Route sends requests to a service, to files or to an outside URL. Exactly one of
// Path and Prefix is set. A prefix ends at a slash: /api matches /api and /api/x and
// not /apis; /api/ matches only what is below it.
type Route struct {
	Service string            `json:"service,omitempty"` // with Static: whose files they are
	Static  string            `json:"static,omitempty"`  // absolute: a folder, or a file with Path
	SPA     bool              `json:"spa,omitempty"`     // what is not there is the app's own: index.html
	URL     string            `json:"url,omitempty"`     // http://host:port or https://host
	Host    string            `json:"host,omitempty"`    // any, unless given; without port
	Path    string            `json:"path,omitempty"`
	Prefix  string            `json:"prefix,omitempty"`
	Methods []string          `json:"methods,omitempty"` // any, unless given
	Headers map[string]string `json:"headers,omitempty"` // must have these values

	Auth   string   `json:"auth"`             // required unless given
	Roles  []string `json:"roles,omitempty"`  // one of them is needed
	Scopes []string `json:"scopes,omitempty"` // all of them are needed

	Timeout     time.Duration `json:"-"` // until the answer is complete; for a stream, until it begins. Zero: none; in JSON, "timeout" in seconds
	BodyLimit   int64         `json:"body_limit,omitempty"`
	Limit       Limit         `json:"rate_limit,omitzero"`
	Retries     Retries       `json:"retries,omitzero"`
	CORS        CORS          `json:"cors,omitzero"`
	StripPrefix bool          `json:"strip_prefix,omitempty"` // the same as to rewrite it to /
	Rewrite     string        `json:"rewrite,omitempty"`      // takes the prefix's place in the path that is sent on

	Position string `json:"position,omitempty"` // where it was declared, for messages
}

// Table is a set of compiled routes. It never changes.
type Table struct {
	routes []Route
	hosts  map[string]*hostTable // by host; "" for routes without one
}

// hostTable finds the routes for a path. Prefixes are kept without their
// last slash, so that a lookup costs one map access for each segment.
type hostTable struct {
	exact    map[string][]*compiled
	prefixes map[string][]*compiled
}

// compiled is a route in the form that a request needs it in.
type compiled struct {
	Route
	name    string // for records: the path or prefix
	below   bool   // the prefix had a last slash: the bare path does not match
	headers []headerMatch
	allow   string // the methods, for an Allow header
	limiter *limiter
	cors    *cors.Cors // nil: no other origins
	files   *files     // nil: a service or a URL
}

type headerMatch struct{ name, value string }

func emptyTable() *Table { return &Table{hosts: map[string]*hostTable{}} }

// Compile checks routes and makes a table of them. It reports everything
// that is wrong at once: routes that cannot be, and routes that clash because
// nothing says which of them is meant.
func Compile(routes []Route) (*Table, error) {
	t := &Table{routes: slices.Clone(routes), hosts: make(map[string]*hostTable)}
	var problems []error
	for i := range t.routes {
		c, err := compile(&t.routes[i])
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", place(t.routes[i]), err))
			continue
		}
		problems = append(problems, t.add(c)...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	t.sort()
	return t, nil
}

func place(r Route) string {
	return cmp.Or(r.Position, "route "+cmp.Or(r.Path, r.Prefix)+" of "+cmp.Or(r.Service, r.URL, r.Static, "nobody"))
}

// compile normalises r and returns it in compiled form.
func compile(r *Route) (*compiled, error) {
	r.Host = normalHost(r.Host)
	r.Auth = cmp.Or(r.Auth, AuthRequired)
	r.Methods = slices.Sorted(slices.Values(r.Methods))
	if err := r.validate(); err != nil {
		return nil, err
	}
	c := &compiled{Route: *r, limiter: newLimiter(r.Limit), cors: newCORS(r.CORS, r.Methods), files: newFiles(r), name: cmp.Or(r.Path, r.Prefix), below: strings.HasSuffix(r.Prefix, "/")}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		c.headers = append(c.headers, headerMatch{http.CanonicalHeaderKey(name), r.Headers[name]})
	}
	c.allow = strings.Join(r.Methods, ", ")
	return c, nil
}

func (r *Route) validate() error {
	path := cmp.Or(r.Path, r.Prefix)
	switch {
	case (r.Path == "") == (r.Prefix == ""):
		return errors.New("a route needs either a path or a prefix")
	case !plainPath(path):
		return fmt.Errorf("%q is not a plain absolute path", path)
	case path == reserved || strings.HasPrefix(path, reserved+"/"):
		return fmt.Errorf("%s is the gateway's own", reserved)
	case r.StripPrefix && r.Prefix == "":
		return errors.New("only a prefix can be stripped")
	case r.Rewrite != "" && (r.Prefix == "" || r.StripPrefix || r.Static != ""):
		return errors.New("what can be rewritten is a prefix that is not stripped, and is sent on")
	case r.Rewrite != "" && !plainPath(r.Rewrite):
		return fmt.Errorf("%q is not a plain absolute path", r.Rewrite)
	case r.Auth != AuthRequired && r.Auth != AuthOptional && r.Auth != AuthNone:
		return fmt.Errorf("auth is %q, and not required, optional or none", r.Auth)
	case r.Auth == AuthNone && len(r.Roles)+len(r.Scopes) > 0:
		return errors.New("roles and scopes need auth to be required or optional")
	case r.Timeout < 0 || r.BodyLimit < 0:
		return errors.New("a timeout or body limit is negative")
	}
	if err := r.validateTarget(); err != nil {
		return err
	}
	return r.validateMatches()
}

func plainPath(path string) bool {
	return path[0] == '/' && !strings.ContainsAny(path, "%\\?#") && safePath(path)
}

func (r *Route) validateMatches() error {
	for _, m := range r.Methods {
		if m == "" || strings.ContainsFunc(m, func(c rune) bool { return (c < 'A' || c > 'Z') && c != '-' }) {
			return fmt.Errorf("%q is not a method (they are upper case)", m)
		}
		if unserved(m) {
			return fmt.Errorf("the gateway does not serve %s", m)
		}
	}
	for name := range r.Headers {
		if isIdentity(http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("the header %s is removed before routes are matched", name)
		}
	}
	return nil
}

// add puts a route into its host's table and returns its clashes.
func (t *Table) add(c *compiled) (clashes []error) {
	h := t.hosts[c.Host]
	if h == nil {
		h = &hostTable{exact: make(map[string][]*compiled), prefixes: make(map[string][]*compiled)}
		t.hosts[c.Host] = h
	}
	bucket, key := h.exact, c.Path
	if c.Path == "" {
		bucket, key = h.prefixes, strings.TrimSuffix(c.Prefix, "/")
	}
	for _, other := range bucket[key] {
		if c.clashes(other) {
			clashes = append(clashes, fmt.Errorf("%s: %s matches the same requests as the route at %s", place(c.Route), c.name, place(other.Route)))
		}
	}
	bucket[key] = append(bucket[key], c)
	return clashes
}

// clashes says whether a request could match both and neither is the more
// specific. Both are of one host and one path.
func (c *compiled) clashes(o *compiled) bool {
	if c.below != o.below || len(c.headers) != len(o.headers) || (len(c.Methods) == 0) != (len(o.Methods) == 0) {
		return false
	}
	sharesMethod := func(m string) bool { return slices.Contains(o.Methods, m) }
	if len(c.Methods) > 0 && !slices.ContainsFunc(c.Methods, sharesMethod) {
		return false
	}
	for _, h := range c.headers {
		for _, oh := range o.headers {
			if h.name == oh.name && h.value != oh.value {
				return false
			}
		}
	}
	return true
}

// sort puts the more specific route of a bucket first.
func (t *Table) sort() {
	for _, h := range t.hosts {
		for _, buckets := range []map[string][]*compiled{h.exact, h.prefixes} {
			for _, bucket := range buckets {
				slices.SortStableFunc(bucket, compareSpecific)
			}
		}
	}
	slices.SortStableFunc(t.routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(b.Host, a.Host), -compareBool(a.Path != "", b.Path != ""),
			cmp.Compare(len(b.Prefix), len(a.Prefix)), cmp.Compare(a.Path+a.Prefix, b.Path+b.Prefix))
	})
}

// compareSpecific orders routes of one path: below a slash, then with
// methods, then with more headers.
func compareSpecific(a, b *compiled) int {
	return cmp.Or(
		-compareBool(a.below, b.below),
		-compareBool(len(a.Methods) > 0, len(b.Methods) > 0),
		cmp.Compare(len(b.headers), len(a.headers)),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Routes returns the routes as they were compiled, the most specific first.
func (t *Table) Routes() []Route { return slices.Clone(t.routes) }
