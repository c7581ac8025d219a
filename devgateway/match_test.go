package devgateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestMostSpecificRouteWins(t *testing.T) {
	table, err := Compile([]Route{
		{Service: "all", Prefix: "/"},
		{Service: "a", Prefix: "/a"}, {Service: "below-a", Prefix: "/a/"}, {Service: "ab", Prefix: "/a/b"},
		{Service: "exact", Path: "/a/b/c"}, {Service: "exact-put", Path: "/a/b/c", Methods: []string{"PUT"}},
		{Service: "posted", Prefix: "/a/b", Methods: []string{"POST"}},
		{Service: "canary", Prefix: "/a/b", Headers: map[string]string{"x-canary": "1"}},
		{Service: "host", Prefix: "/", Host: "Shop.Example:443"},
		{Service: "only-get", Path: "/only", Methods: []string{"GET"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ host, method, path, canary, want string }{
		{"", "GET", "/", "", "all"}, {"", "GET", "/x", "", "all"}, {"", "GET", "/a", "", "a"}, {"", "GET", "/a/", "", "below-a"},
		{"", "GET", "/a/x", "", "below-a"}, {"", "GET", "/ax", "", "all"}, {"", "GET", "/a/b", "", "ab"}, {"", "GET", "/a/bc", "", "below-a"},
		{"", "GET", "/a/b/c", "", "exact"}, {"", "PUT", "/a/b/c", "", "exact-put"}, {"", "POST", "/a/b/x", "1", "posted"},
		{"", "GET", "/a/b/x", "1", "canary"}, {"", "GET", "/a/b/x", "2", "ab"}, {"shop.example", "GET", "/a/b/c", "", "host"},
		{"other", "GET", "/only", "", "only-get"}, {"other", "POST", "/only", "", "all"},
	} {
		header := http.Header{}
		if tt.canary != "" {
			header.Set("X-Canary", tt.canary)
		}
		got, _ := table.match(tt.host, tt.method, tt.path, header)
		if got == nil || got.Service != tt.want {
			t.Errorf("%+v: got %+v", tt, got)
		}
	}
}

func TestCompileReportsAllClashes(t *testing.T) {
	_, err := Compile([]Route{
		{Service: "a", Prefix: "/x", Position: "1"}, {Service: "b", Prefix: "/x", Position: "2"}, // the same
		{Service: "c", Path: "/y", Headers: map[string]string{"A": "1"}, Position: "3"},
		{Service: "d", Path: "/y", Headers: map[string]string{"B": "1"}, Position: "4"}, // both may hold
		{Service: "e", Path: "/y", Headers: map[string]string{"a": "2"}, Position: "5"}, // excludes 3, not 4
		{Service: "f", Path: "/z", Methods: []string{"GET"}, Position: "6"}, {Service: "g", Path: "/z", Methods: []string{"PUT"}, Position: "7"},
		{Service: "h", Prefix: "/x/", Position: "8"}, {Service: "i", Prefix: "/x", Host: "h", Position: "9"},
		{Service: "", Prefix: "/n", Position: "10"}, {Service: "j", Prefix: "/.mesh/x", Position: "11"},
		{Service: "k", Prefix: "/k", Path: "/k", Position: "12"}, {Service: "l", Prefix: "/l", Auth: "maybe", Position: "13"},
		{Service: "m", Prefix: "/m", Auth: AuthNone, Roles: []string{"r"}, Position: "14"}, {Service: "n", Prefix: "/a/../b", Position: "15"},
		{Service: "o", Prefix: "/o", Methods: []string{"get"}, Position: "16"}, {Service: "p", Path: "/p", StripPrefix: true, Position: "17"},
		{Service: "q", Path: "/q", Headers: map[string]string{"x-forwarded-user": "a"}, Position: "18"},
		{Service: "r", Path: "/r", Rewrite: "/x", Position: "19"}, {Service: "s", Prefix: "/s", Rewrite: "/x", StripPrefix: true, Position: "20"},
		{Service: "t", Prefix: "/t", Rewrite: "/../x", Position: "21"}, {Service: "u", Prefix: "/u", Rewrite: "x", Position: "22"},
	})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatal(err)
	}
	var at []string
	for _, e := range joined.Unwrap() {
		position, _, _ := strings.Cut(e.Error(), ":")
		at = append(at, position)
	}
	if got := strings.Join(at, " "); got != "2 4 5 10 11 12 13 14 15 16 17 18 19 20 21 22" {
		t.Errorf("errors at %s:\n%v", got, err)
	}
}

// model finds a route by looking at all of them.
func model(routes []*compiled, host, method, path string, header http.Header) *compiled {
	matches := func(c *compiled) bool {
		prefix := strings.TrimSuffix(c.Prefix, "/")
		onPath := path == c.Path && c.Path != "" || c.Prefix != "" && (path == prefix && !c.below || strings.HasPrefix(path, prefix+"/"))
		for name, value := range c.Headers {
			if values := header[http.CanonicalHeaderKey(name)]; len(values) != 1 || values[0] != value {
				return false
			}
		}
		return onPath && (c.Host == "" || c.Host == host) && (len(c.Methods) == 0 || slices.Contains(c.Methods, method))
	}
	rank := func(c *compiled) []int {
		r := []int{0, 0, len(c.Prefix), min(1, len(c.Methods)), len(c.Headers)}
		if c.Host != "" {
			r[0] = 1
		}
		if c.Path != "" {
			r[1] = 1
		}
		return r
	}
	var best *compiled
	for _, c := range routes {
		if matches(c) && (best == nil || slices.Compare(rank(c), rank(best)) > 0) {
			best = c
		}
	}
	return best
}

func FuzzMatch(f *testing.F) {
	f.Add("/a\n=/a/b\nGET /a/b\nhost /a/", "/a/b/c", "GET", "host", "")
	f.Add("/\n/a/\n=/a\nhost /", "/a", "POST", "other", "")
	f.Add("/a\nbeta /a\nbeta old GET /a\nGET /a\nhost old /a", "/a/x", "GET", "host", "beta old")
	f.Fuzz(func(t *testing.T, spec, path, method, host, headers string) {
		var routes []Route
		for line := range strings.Lines(spec) {
			r := Route{Service: "s"}
			line = strings.TrimSuffix(line, "\n")
			if rest, ok := strings.CutPrefix(line, "host "); ok {
				r.Host, line = "host", rest
			}
			for _, name := range []string{"beta", "old"} {
				if rest, ok := strings.CutPrefix(line, name+" "); ok {
					if r.Headers == nil {
						r.Headers = map[string]string{}
					}
					r.Headers["x-"+name], line = "1", rest
				}
			}
			if rest, ok := strings.CutPrefix(line, "GET "); ok {
				r.Methods, line = []string{"GET"}, rest
			}
			if exact, ok := strings.CutPrefix(line, "="); ok {
				r.Path = exact
			} else {
				r.Prefix = line
			}
			routes = append(routes, r)
		}
		table, err := Compile(routes)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		var all []*compiled
		for i := range table.routes {
			c, err := compile(&table.routes[i])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		header := http.Header{}
		for name := range strings.FieldsSeq(headers) {
			if name == "beta" || name == "old" {
				header.Add("X-"+name, "1")
			}
		}
		got, _ := table.match(normalHost(host), method, path, header)
		want := model(all, normalHost(host), method, path, header)
		if (got == nil) != (want == nil) || got != nil && (got.name != want.name || got.Host != want.Host || got.allow != want.allow || len(got.headers) != len(want.headers)) {
			t.Errorf("%s %s%s in %q: got %+v, want %+v", method, host, path, spec, got, want)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var routes []Route
	for i := range 1000 {
		routes = append(routes, Route{Service: "s", Prefix: "/pkg.v1.Service" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + "/"})
	}
	slices.SortFunc(routes, func(a, b Route) int { return strings.Compare(a.Prefix, b.Prefix) })
	routes = slices.CompactFunc(routes, func(a, b Route) bool { return a.Prefix == b.Prefix })
	table, err := Compile(routes)
	if err != nil {
		b.Fatal(err)
	}
	path := routes[0].Prefix + "Method"
	for b.Loop() {
		table.match("localhost", "POST", path, nil)
	}
}

func TestMethodsWithADash(t *testing.T) {
	if _, err := Compile([]Route{{Service: "s", Path: "/", Methods: []string{"M-SEARCH"}, Auth: AuthNone}}); err != nil {
		t.Error(err)
	}
}
