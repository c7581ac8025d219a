package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/internal/relay"
	"github.com/ebef7166/mesh/manifest"
)

// near checks that the bridge is on this machine: what is inside containers
// reaches mesh there.
func (c *containers) near() error {
	ln, err := c.listen(0)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return fmt.Errorf("the Docker engine runs in another machine or namespace (Docker Desktop, a virtual machine or a remote DOCKER_HOST): its containers cannot reach mesh here; use an engine on this machine, or run services as processes")
	}
	if err != nil {
		return err
	}
	return ln.Close()
}

// listen listens on the bridge, for its containers and this machine alone.
func (c *containers) listen(port int) (net.Listener, error) {
	at := c.Bridge()
	ln, err := net.Listen("tcp", net.JoinHostPort(at.Gateway.String(), strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	return &peers{Listener: ln, of: at.Subnet}, nil
}

// subnets are where containers are.
func (c *containers) subnets() []netip.Prefix {
	if c == nil {
		return nil
	}
	return []netip.Prefix{c.Bridge().Subnet}
}

// also listens on the bridge at the port of ln.
func (c *containers) also(ln net.Listener) (net.Listener, error) {
	return c.listen(ln.Addr().(*net.TCPAddr).Port)
}

// relay makes an address of loopback reachable on the bridge, at the same port.
func (c *containers) relay(address string) error {
	if slices.ContainsFunc(c.relays, func(r relayed) bool { return r.to == address }) {
		return nil
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	ln, err := c.listen(port)
	if err == nil {
		c.relays = append(c.relays, relayed{ln, address})
	}
	return err
}

// relayDatabases makes PostgreSQL servers that listen on loopback reachable.
func (c *containers) relayDatabases(m *manifest.Workspace) error {
	if c == nil {
		return nil
	}
	servers := []string{}
	if m.Databases.Postgres != nil {
		servers = append(servers, m.Databases.Postgres.URL)
	}
	for _, s := range m.Services {
		if s.Database != nil && s.Database.URL != "" {
			servers = append(servers, s.Database.URL)
		}
	}
	for _, server := range servers {
		if address, ok := loopbackServer(server); ok {
			// A server that listens on every address has the bridge's too.
			if err := c.relay(address); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
				return fmt.Errorf("PostgreSQL for containers: %w", err)
			}
		}
	}
	return nil
}

// loopbackServer is the address of a PostgreSQL server on loopback.
func loopbackServer(server string) (address string, ok bool) {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	ip := net.ParseIP(u.Hostname())
	return net.JoinHostPort(u.Hostname(), port), u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// databaseURL is a server's address as everybody reaches it.
func (w *Workspace) databaseURL(server string) string {
	address, ok := loopbackServer(server)
	u, err := url.Parse(server)
	if w.containers == nil || !ok || err != nil {
		return server
	}
	u.Host = w.address(address)
	return u.String()
}

// serve relays, and tells when an engine that was away is back.
func (c *containers) serve(ctx context.Context, parts *errgroup.Group, lost func(error), back func()) {
	for _, r := range c.relays {
		parts.Go(func() error { return relay.TCP(ctx, r.ln, r.to) })
	}
	parts.Go(func() error { return c.Watch(ctx, lost, back) })
}

// peers accepts from one subnet only, and from this machine.
type peers struct {
	net.Listener
	of netip.Prefix
}

// Accept implements net.Listener.
func (p *peers) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from, ok := conn.RemoteAddr().(*net.TCPAddr); ok && (p.of.Contains(from.AddrPort().Addr().Unmap()) || ours(from.IP)) {
			return conn, nil
		}
		conn.Close()
	}
}

// ours reports whether an address is one of this machine's. The engine's rules
// give a connection from here to the bridge any of them as its source; the
// system drops packets from elsewhere that claim to have one.
func ours(ip net.IP) bool {
	addresses, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addresses, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// address is where all services reach what listens at an address of loopback.
func (w *Workspace) address(loopback string) string {
	if w.containers == nil {
		return loopback
	}
	_, port, err := net.SplitHostPort(loopback)
	if err != nil {
		return loopback
	}
	return net.JoinHostPort(w.containers.Bridge().Gateway.String(), port)
}

// brokerURL is the broker's address with a user's login.
func (w *Workspace) brokerURL(user string) string {
	u, err := url.Parse(w.broker.URL(user))
	if err != nil {
		return w.broker.URL(user)
	}
	u.Host = w.address(u.Host)
	return u.String()
}

// direct keeps calls to the bridge from going through a proxy of the host's,
// which loopback never does.
func (w *Workspace) direct(values map[string]string) {
	if w.containers == nil {
		return
	}
	for proxy, except := range map[string]string{"HTTP_PROXY": "NO_PROXY", "http_proxy": "no_proxy"} {
		if values[proxy] != "" {
			values[except] = strings.TrimPrefix(values[except]+","+w.containers.Bridge().Gateway.String(), ",")
		}
	}
}
