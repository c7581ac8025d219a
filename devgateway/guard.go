package devgateway

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxHeaderBytes = 32 << 10
	maxHeaders     = 100
)

// check refuses what no honest client sends, before anything is decided about
// a request. It returns nil for all others.
func (g *Gateway) check(r *http.Request) *problem {
	switch {
	case unserved(r.Method):
		return &problem{status: http.StatusMethodNotAllowed, cause: r.Method + " is not served"}
	case misspelt(r.Method):
		return &problem{status: http.StatusBadRequest, cause: "the method " + r.Method + " could be read in two ways: write it as " + strings.ToUpper(r.Method)}
	case countHeaders(r.Header) > maxHeaders:
		return &problem{status: http.StatusRequestHeaderFieldsTooLarge, cause: "more than 100 headers"}
	case !plainTarget(r):
		return &problem{status: http.StatusBadRequest, cause: "the path could be read in more than one way"}
	case r.ProtoMajor == 2 && !wellFormed(r):
		return &problem{status: http.StatusBadRequest, cause: "the request is malformed (RFC 9113, 8.1.1 and 8.3.1)"}
	}
	for name := range r.Header {
		if strings.Contains(name, "_") && isIdentity(dashed(name)) {
			return &problem{status: http.StatusBadRequest, cause: "a header with an underscore looks like one that the gateway sets"}
		}
	}
	return nil
}

// unserved says whether a method ends at the gateway: a tunnel past it, an echo of
// what it adds, and the word that HTTP/2 begins with (RFC 9113, 3.4), which a service
// could take for that. Others pass, those that no standard knows too.
func unserved(method string) bool {
	return method == http.MethodConnect || method == http.MethodTrace || method == "PRI"
}

// misspelt says whether a method is a standard one but for its letters. To RFC 9110
// (9.1) it is another one, so that it finds another route; to a lenient service it
// is the same.
func misspelt(method string) bool {
	upper := strings.ToUpper(method) // the same string where it is that already
	if upper == method {
		return false
	}
	switch upper {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return true
	}
	return unserved(upper)
}

// wellFormed holds what net/http lets through over HTTP/2: a path that is a whole
// URL, a Host beside :authority that is another one, and a length of a body that is
// not there. Over HTTP/1.1 the first is a form that is allowed, and the others are
// seen on the connection.
func wellFormed(r *http.Request) bool {
	hosts, length := r.Header["Host"], r.Header.Get("Content-Length")
	return strings.HasPrefix(r.RequestURI, "/") && (len(hosts) == 0 || len(hosts) == 1 && hosts[0] == r.Host) &&
		(r.ContentLength != 0 || length == "" || length == "0")
}

func countHeaders(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// plainTarget says whether everybody on the way reads the same path. What
// comes encoded and would be a separator, a dot segment or the end of a
// string once decoded, could be routed as one thing and served as another.
func plainTarget(r *http.Request) bool {
	u := r.URL
	if u.Path == "" || u.Path[0] != '/' || u.Fragment != "" || strings.ContainsAny(r.RequestURI, "# ") {
		return false
	}
	if u.RawPath == "" && !strings.Contains(r.RequestURI, "%") {
		return safePath(u.Path)
	}
	return safeEncoding(u.EscapedPath()) && safeEncoding(requestPath(r.RequestURI)) && safePath(u.Path)
}

// requestPath is the path of a request line as it was sent.
func requestPath(target string) string {
	path, _, _ := strings.Cut(target, "?")
	return path
}

// safePath looks at a decoded path: no backslash, no control character, and
// no segment that is . or .., with or without parameters behind a semicolon.
func safePath(path string) bool {
	start := 1
	for i := 1; i <= len(path); i++ {
		if i < len(path) && path[i] != '/' {
			if path[i] < 0x20 || path[i] == 0x7f || path[i] == '\\' {
				return false
			}
			continue
		}
		if isDots(path[start:i]) {
			return false
		}
		start = i + 1
	}
	return true
}

func isDots(segment string) bool {
	if len(segment) == 0 || segment[0] != '.' {
		return false
	}
	name, _, _ := strings.Cut(segment, ";")
	return name == "." || name == ".."
}

// safeEncoding looks at a path as it was sent: no encoded slash, backslash,
// dot or control character, and nothing that is encoded twice.
func safeEncoding(path string) bool {
	for i := strings.IndexByte(path, '%'); i >= 0 && i+2 < len(path); {
		switch c := unhex(path[i+1])<<4 | unhex(path[i+2]); {
		case c == '/', c == '\\', c == '.', c < 0x20, c == 0x7f:
			return false
		case c == '%' && i+4 < len(path) && isHex(path[i+3]) && isHex(path[i+4]):
			return false
		}
		next := strings.IndexByte(path[i+1:], '%')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// canonical is the path as a lenient service might read it: without
// parameters behind semicolons, and with one slash where several stand. A
// request is refused when that reading belongs to another route.
func canonical(path string) string {
	var b strings.Builder
	skipping := false
	for i := range len(path) {
		c := path[i]
		switch c {
		case '/':
			skipping = false
			if i > 0 && b.Len() > 0 && b.String()[b.Len()-1] == '/' {
				continue
			}
		case ';':
			skipping = true
		}
		if !skipping {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// lenient says whether a path has anything that canonical would change.
func lenient(path string) bool {
	return strings.Contains(path, "//") || strings.Contains(path, ";")
}

// hostAllowed says whether a request was meant for this gateway, and not for
// a name of an attacker's that was pointed here (DNS rebinding). The address
// that the connection arrived at is always allowed: as a number it is no
// name that anybody could point anywhere.
func (g *Gateway) hostAllowed(r *http.Request, host string, t *Table) bool {
	if isLoopback(host) {
		return true
	}
	if t != nil && t.hosts[host] != nil && host != "" {
		return true
	}
	for _, extra := range g.config.Hosts {
		if normalHost(extra) == host && host != "" {
			return true
		}
	}
	ip, _, err := net.SplitHostPort(arrivedAt(r))
	return err == nil && ip == host
}

// arrivedAt is the address that a request's connection came to, "" where it is not
// known.
func arrivedAt(r *http.Request) string {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return ""
	}
	return local.String()
}

// complete gives a request what it need not say: a host over HTTP/1.0, which is the
// address that it came to (RFC 9112, 3.3), and a path in absolute form, which is /
// (RFC 9110, 4.2.3).
func complete(r *http.Request) {
	if r.Host == "" && !r.ProtoAtLeast(1, 1) {
		r.Host = arrivedAt(r)
	}
	if r.URL.Path == "" && r.URL.Host != "" && r.ProtoMajor == 1 && r.Method != http.MethodConnect {
		r.URL.Path = "/"
	}
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// normalHost is a Host header without port, final dot, brackets and capital
// letters.
func normalHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") && (strings.HasPrefix(host, "[") || strings.Count(host, ":") == 1) {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(host)
}

// plainHost says whether a host is letters, digits, dots and dashes, perhaps with a
// port: almost all are.
func plainHost(host string) bool {
	name, port, found := strings.Cut(host, ":")
	for i := range len(name) {
		if b := name[i]; (b|0x20 < 'a' || b|0x20 > 'z') && (b < '0' || b > '9') && b != '.' && b != '-' {
			return false
		}
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return name != "" && (port != "" || !found)
}

// validHost refuses Host headers with user information, a path or a port
// that is no number: net/http lets some of them through.
func validHost(host string) bool {
	if host == "" || strings.ContainsAny(host, "@/\\?# \t,%") {
		return false
	}
	if plainHost(host) {
		return true
	}
	u, err := url.Parse("http://" + host)
	return err == nil && u.Host == host && u.User == nil
}
