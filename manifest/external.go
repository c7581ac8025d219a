package manifest

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// External reports whether the service runs elsewhere.
func (s *Service) External() bool { return s.URL != "" }

// Elsewhere is the host:port of a service that runs elsewhere.
func (s *Service) Elsewhere() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "" // refused when the manifest was read
	}
	return u.Host
}

// KeepsPort reports whether mesh itself listens on the service's fixed port: not
// where that is the very address at which the service runs elsewhere.
func (s *Service) KeepsPort() bool {
	host, port, err := net.SplitHostPort(s.Elsewhere())
	itself := err == nil && loopback(host) && port == strconv.Itoa(s.Port)
	return s.Port != 0 && !itself
}

// runElsewhere makes services external that mesh would run: by name, the
// addresses at which they are.
func (w *Workspace) runElsewhere(addresses map[string]string) error {
	for name, address := range addresses {
		s, ok := w.byName[name]
		if !ok {
			return &UnknownService{Name: name, Known: w.Names()}
		}
		at, err := ExternalURL(address)
		if err != nil {
			return err
		}
		if !s.Listens() {
			return fmt.Errorf("%s is a %s: it has no port that anybody could be sent to", name, s.Kind)
		}
		s.URL = at
	}
	return nil
}

// ExternalURL reads the address of a service that runs elsewhere, host:port or
// http://host:port.
func ExternalURL(address string) (string, error) {
	text := address
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || !validPort(u.Port()) || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("%q is no address that mesh can send requests to: write it as host:port or http://host:port", address)
	}
	return "http://" + u.Host, nil
}

func validPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n > 0 && n < 1<<16
}

// isOrigin reports that address is the scheme and host of a server of HTTP, and
// nothing more.
func isOrigin(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.Scheme+"://"+u.Host == address && (u.Port() == "" || validPort(u.Port()))
}
