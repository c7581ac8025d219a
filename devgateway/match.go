package devgateway

import (
	"net/http"
	"slices"
	"strings"
)

// match finds the most specific route for a request: its host's before those
// of any host, an exact path before a prefix, the longest prefix first, and
// of one path the one that asks for a method, then for more headers. When
// only the method was wrong it returns the methods that there are.
func (t *Table) match(host, method, path string, header http.Header) (found *compiled, allow string) {
	if h := t.hosts[host]; h != nil && host != "" {
		if found, allow = h.match(method, path, header); found != nil {
			return found, ""
		}
	}
	if h := t.hosts[""]; h != nil {
		c, a := h.match(method, path, header)
		if c != nil {
			return c, ""
		}
		allow = joinAllow(allow, a)
	}
	return nil, allow
}

func joinAllow(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

func (h *hostTable) match(method, path string, header http.Header) (found *compiled, allow string) {
	if found, allow = first(h.exact[path], method, header, false); found != nil {
		return found, ""
	}
	// Every cut of the path before a slash, from the longest to the shortest,
	// may be a prefix. The whole path is one too: that of the bare prefix.
	for end := len(path); end >= 0; end = strings.LastIndexByte(path[:end], '/') {
		c, a := first(h.prefixes[path[:end]], method, header, end == len(path))
		if c != nil {
			return c, ""
		}
		allow = joinAllow(allow, a)
	}
	return nil, allow
}

// first returns the first route of a bucket that takes the request. bare
// says that the path is the prefix itself, without a slash behind it.
func first(bucket []*compiled, method string, header http.Header, bare bool) (found *compiled, allow string) {
	for _, c := range bucket {
		if bare && c.below || !c.headersMatch(header) {
			continue
		}
		if len(c.Methods) == 0 || slices.Contains(c.Methods, method) {
			return c, ""
		}
		allow = joinAllow(allow, c.allow)
	}
	return nil, allow
}

func (c *compiled) headersMatch(header http.Header) bool {
	for _, h := range c.headers {
		if values := header[h.name]; len(values) != 1 || values[0] != h.value && values[0] != anyValue {
			return false
		}
	}
	return true
}
