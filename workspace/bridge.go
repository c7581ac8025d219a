package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/ebef7166/mesh/internal/ownaddr"
	"github.com/ebef7166/mesh/internal/relay"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// ear is what listens on the bridge, and what serves it.
type ear struct {
	on    []io.Closer
	serve func(context.Context) error
}

func (e ear) close() {
	for _, c := range e.on {
		c.Close()
	}
}

// bridge has everything that services are told listen on the bridge too, and tells
// it from then on. On an error nothing is told.
func (w *Workspace) bridge(c *containers) error {
	for name, ln := range w.listeners {
		if err := w.beside(c, name, ln); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := c.relayAll(w.brokerAddress(), w.Manifest()); err != nil {
		return err
	}
	if err := w.links.join(c); err != nil {
		return err
	}
	w.containers.Store(c)
	w.endpoints.join(c)
	if w.identity != nil {
		return w.identity.Move(w.url("identity")) // another host alone, which is never refused
	}
	return nil
}

// beside has a built-in listen on the bridge at the port that it has on loopback.
// One that listens elsewhere was asked to.
func (w *Workspace) beside(c *containers, name string, ln net.Listener) error {
	if !ln.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return nil
	}
	also, err := c.also(ln)
	if err != nil {
		return err
	}
	if name != registryDNS {
		c.ears = append(c.ears, ear{[]io.Closer{also}, func(ctx context.Context) error { return w.serveOne(ctx, name, also) }})
		return nil
	}
	udp, err := c.listenPacket(also)
	if err != nil {
		return errors.Join(err, also.Close())
	}
	c.ears = append(c.ears, ear{[]io.Closer{also, udp}, func(ctx context.Context) error { return w.registry.ServeDNS(ctx, udp, also) }})
	return nil
}

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
	return &peers{ln, neighbours{at.Subnet}}, nil
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

// listenPacket is listen for UDP, at the address of ln.
func (c *containers) listenPacket(ln net.Listener) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	return &packetPeers{conn, neighbours{c.Bridge().Subnet}}, nil
}

// relay makes an address of loopback reachable on the bridge, at the same port.
// Once the ear is closed what is connected may end.
func (c *containers) relay(address string) (ear, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return ear{}, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return ear{}, err
	}
	ln, err := c.listen(port)
	if err != nil {
		return ear{}, err
	}
	return ear{[]io.Closer{ln}, func(ctx context.Context) error {
		if err := relay.TCP(ctx, ln, address); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}}, nil
}

// reach is where containers and processes alike reach an instance: a container at
// its own address, a process over a relay, whose ear is returned.
func (c *containers) reach(i runtime.Instance) (address string, relay ear) {
	host, port, err := net.SplitHostPort(i.Address)
	if c == nil || err != nil {
		return i.Address, ear{}
	}
	if i.Inner != "" {
		return i.Inner, ear{}
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return i.Address, ear{} // elsewhere, as its manifest says
	}
	relay, err = c.relay(i.Address)
	switch {
	case err == nil:
		c.serving.start(relay.serve)
	case !errors.Is(err, syscall.EADDRINUSE): // one that listens on every address has the bridge's too
		return i.Address, ear{}
	}
	return net.JoinHostPort(c.Bridge().Gateway.String(), port), relay
}

// relayAll makes the broker reachable, and PostgreSQL servers that listen on
// loopback.
func (c *containers) relayAll(broker string, m *manifest.Workspace) error {
	e, err := c.relay(broker)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	c.ears = append(c.ears, e)
	for _, address := range loopbackServers(m) {
		// A server that listens on every address has the bridge's too.
		if e, err = c.relay(address); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("PostgreSQL for containers: %w", err)
		}
		if err == nil {
			c.ears = append(c.ears, e)
		}
	}
	return nil
}

// loopbackServers are the addresses of the PostgreSQL servers that listen on
// loopback.
func loopbackServers(m *manifest.Workspace) []string {
	var addresses []string
	for _, s := range m.Services {
		if s.Database == nil || s.Database.URL == "" {
			continue
		}
		if address, ok := loopbackServer(s.Database.URL); ok {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
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
	if w.containers.Load() == nil || !ok || err != nil {
		return server
	}
	u.Host = w.address(address)
	return u.String()
}

// neighbours are one subnet, and this machine: the engine's rules give a connection
// from here to the bridge any of its addresses as the source, and the system drops
// packets from elsewhere that claim to have one.
type neighbours struct{ of netip.Prefix }

func (n neighbours) admit(from net.Addr) bool {
	var ip netip.Addr
	switch at := from.(type) {
	case *net.TCPAddr:
		ip = at.AddrPort().Addr().Unmap()
	case *net.UDPAddr:
		ip = at.AddrPort().Addr().Unmap()
	}
	return n.of.Contains(ip) || ownaddr.Has(ip)
}

// peers accepts from neighbours only.
type peers struct {
	net.Listener
	neighbours
}

// Accept implements net.Listener.
func (p *peers) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil || p.admit(conn.RemoteAddr()) {
			return conn, err
		}
		conn.Close()
	}
}

// packetPeers reads what neighbours send only.
type packetPeers struct {
	net.PacketConn
	neighbours
}

// ReadFrom implements net.PacketConn.
func (p *packetPeers) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil || p.admit(from) {
			return n, from, err
		}
	}
}

// address is where all services reach what listens at an address of loopback.
func (w *Workspace) address(loopback string) string {
	c := w.containers.Load()
	if c == nil {
		return loopback
	}
	_, port, err := net.SplitHostPort(loopback)
	if err != nil {
		return loopback
	}
	return net.JoinHostPort(c.Bridge().Gateway.String(), port)
}

// url is where everybody reaches a built-in. The gateway is people's, and an issuer
// of one's own somebody else's.
func (w *Workspace) url(name string) string {
	if name == "gateway" || name == "identity" && w.identity == nil {
		return w.urls[name]
	}
	return w.everywhere(w.urls[name])
}

// everywhere is a URL of loopback as everybody reaches it.
func (w *Workspace) everywhere(loopback string) string {
	u, err := url.Parse(loopback)
	if err != nil {
		return loopback
	}
	u.Host = w.address(u.Host)
	return u.String()
}

// direct keeps calls to the bridge from going through a proxy of the host's,
// which loopback never does.
func (w *Workspace) direct(values map[string]string) {
	c := w.containers.Load()
	if c == nil {
		return
	}
	for proxy, except := range map[string]string{"HTTP_PROXY": "NO_PROXY", "http_proxy": "no_proxy"} {
		if values[proxy] != "" {
			values[except] = strings.TrimPrefix(values[except]+","+c.Bridge().Gateway.String(), ",")
		}
	}
}
