package devidentity

import (
	"net/url"
	"strings"
)

// redirectAllowed matches byte for byte, save the port of a loopback
// address, which a native app chooses when it starts (RFC 8252 section 7.3).
func (c *Client) redirectAllowed(uri string) bool {
	for _, registered := range c.RedirectURIs {
		if uri == registered || sameButForPort(registered, uri) {
			return true
		}
	}
	return false
}

// sameButForPort compares as text: parsing what an attacker wrote, and
// comparing the parts, is where such checks have gone wrong.
func sameButForPort(registered, uri string) bool {
	origin, rest, ok := splitLoopback(registered)
	if !ok {
		return false
	}
	asked, askedRest, ok := splitLoopback(uri)
	return ok && origin == asked && rest == askedRest
}

// splitLoopback cuts the port out of an http URI on loopback.
func splitLoopback(uri string) (origin, rest string, ok bool) {
	for _, prefix := range []string{"http://127.0.0.1", "http://[::1]", "http://localhost"} {
		after, found := strings.CutPrefix(uri, prefix)
		if !found {
			continue
		}
		if port, isPort := strings.CutPrefix(after, ":"); isPort {
			after = strings.TrimLeft(port, "0123456789")
			if digits := len(port) - len(after); digits == 0 || digits > 5 {
				return "", "", false
			}
		}
		if after != "" && after[0] != '/' && after[0] != '?' {
			return "", "", false
		}
		return prefix, after, true
	}
	return "", "", false
}

// logoutAllowed says whether a browser may be sent to uri after signing out:
// a registered redirect URI, or a page of the origin of one. Clients register
// no URIs of their own for it.
func (c *Client) logoutAllowed(uri string) bool {
	if c.redirectAllowed(uri) {
		return true
	}
	asked, err := url.Parse(uri)
	if err != nil || asked.User != nil || asked.Host == "" || strings.ContainsAny(uri, "#\\") {
		return false
	}
	for _, registered := range c.RedirectURIs {
		if u, err := url.Parse(registered); err == nil && u.Scheme == asked.Scheme && u.Host == asked.Host {
			return true
		}
		if sameLoopback(registered, uri) {
			return true
		}
	}
	return false
}

// sameLoopback says whether two URIs have one loopback address, on whatever ports:
// the page that signed in on a port of its own comes back to it.
func sameLoopback(registered, uri string) bool {
	origin, _, ok := splitLoopback(registered)
	asked, _, askedOK := splitLoopback(uri)
	return ok && askedOK && origin == asked
}

// withQuery adds parameters to a URI that may have a query already.
func withQuery(uri string, add url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + add.Encode()
}
