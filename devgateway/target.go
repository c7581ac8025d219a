package devgateway

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
)

// validateTarget holds that a route leads to exactly one place.
func (r *Route) validateTarget() error {
	switch {
	case r.Static != "" && r.URL != "":
		return errors.New("a route leads to files or to a URL, not to both")
	case r.Service == "" && r.Static == "" && r.URL == "":
		return errors.New("the route has no service, no files and no URL")
	case r.Service != "" && r.URL != "":
		return errors.New("a route leads to a service or to a URL, not to both")
	case r.Static != "" && !filepath.IsAbs(r.Static):
		return fmt.Errorf("%q is not an absolute path of files", r.Static)
	case r.SPA && (r.Static == "" || r.Prefix == ""):
		return errors.New("a single-page app needs a prefix and files")
	}
	if r.URL == "" {
		return nil
	}
	_, err := outsideInstance(r.URL)
	return err
}

// callee is the name under which records, balancing and errors know where a route
// leads; files have none.
func (r *Route) callee() string {
	if r.URL != "" {
		return r.URL
	}
	return r.Service
}

// outsideInstance is the only instance of an outside URL, scheme://host[:port].
func outsideInstance(address string) (Instance, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Scheme+"://"+u.Host != address {
		return Instance{}, fmt.Errorf("%q is no URL to send requests to: it is http://host:port or https://host", address)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return Instance{ID: address, Addr: net.JoinHostPort(u.Hostname(), port), TLS: u.Scheme == "https"}, nil
}

// setOutside gives the URLs of a table their instances, and takes away those of the
// table before it.
func (g *Gateway) setOutside(before, now *Table) {
	for _, r := range now.routes {
		if in, err := outsideInstance(r.URL); r.URL != "" && err == nil { // it was compiled
			g.SetInstances(r.URL, []Instance{in})
		}
	}
	for _, r := range before.routes {
		if r.URL != "" && !now.leadsTo(r.URL) {
			g.SetInstances(r.URL, nil)
		}
	}
}

func (t *Table) leadsTo(address string) bool {
	for _, r := range t.routes {
		if r.URL == address {
			return true
		}
	}
	return false
}

// ownHost tells an outside URL the host that it knows itself by: a development
// server refuses others, as the gateway does.
func (c *compiled) ownHost(out *http.Request) {
	if c.URL != "" {
		_, out.Host, _ = strings.Cut(c.URL, "://")
	}
}

// ownLocation makes a redirect of an outside URL to itself one that stays behind
// the gateway.
func (c *compiled) ownLocation(h http.Header) {
	location := h.Get("Location")
	if c.URL == "" || location == "" {
		return
	}
	to, err := url.Parse(location)
	if err != nil || !c.leadsToItself(to) {
		return
	}
	path := "/" + strings.TrimLeft(to.EscapedPath(), "/")
	prefix, inside := strings.TrimSuffix(c.Prefix, "/"), strings.TrimSuffix(c.replacement(), "/")
	if to.Host == "" && inside == "" && (c.replacement() == "" || isBelow(path, prefix)) {
		return // it knows where it is
	}
	to.Scheme, to.Host, to.Path, to.RawPath = "", "", "", ""
	h.Set("Location", c.seenFromOutside(path)+to.String())
}

// seenFromOutside is the path that leads to a path of the URL. What is not below that
// which the prefix was replaced with stays as it is: another route may lead there.
func (c *compiled) seenFromOutside(path string) string {
	inside := strings.TrimSuffix(c.replacement(), "/")
	if c.replacement() == "" || !isBelow(path, inside) {
		return path
	}
	rest := strings.TrimPrefix(path, inside)
	if rest == "" && c.below {
		return c.Prefix
	}
	return replaced(cmp.Or(strings.TrimSuffix(c.Prefix, "/"), "/"), rest)
}

func isBelow(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// leadsToItself says whether a redirect of the outside URL leads to that URL, by its
// name or by a path alone. What is relative to the request is right as it is.
func (c *compiled) leadsToItself(to *url.URL) bool {
	own, err := url.Parse(c.URL)
	switch {
	case err != nil || to.Opaque != "" || to.User != nil:
		return false
	case to.Host == "":
		return to.Scheme == "" && strings.HasPrefix(to.Path, "/")
	}
	return strings.EqualFold(to.Host, own.Host) && (to.Scheme == "" || to.Scheme == own.Scheme)
}
