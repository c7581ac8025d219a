package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/internal/relay"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/container"
)

// containers is what a workspace has while there may be containers: an engine,
// and an ear on the bridge that they are on. A nil one is a workspace of
// processes.
type containers struct {
	*container.Engine
	relays []relayed // for what listens on loopback alone
}

type relayed struct {
	ln net.Listener
	to string
}

// errProcessesOnly is why a container cannot join.
var errProcessesOnly = errors.New("this run of mesh began without containers, and the addresses that services are told would change: mesh down, then mesh up")

// SameDriver refuses another driver than this run has: everything would change.
func (w *Workspace) SameDriver(driver string) error {
	now := w.options.Driver
	if driver == "" || driver == now || now == "" && driver == "process" {
		return nil
	}
	return fmt.Errorf("mesh runs in this workspace without --driver %s: mesh down, then mesh up --driver %s", driver, driver)
}

// openContainers finds the engine and makes the workspace's network when the
// manifest has containers, whether this run selects them or not: they may be
// added later. Without an engine only a run that needs none goes on.
func (w *Workspace) openContainers(ctx context.Context) error {
	if !manifest.HasContainers(w.manifest.Services) {
		return w.sweepMarked(ctx)
	}
	c, err := w.connect(ctx)
	if err != nil && manifest.HasContainers(w.selected) {
		return err
	}
	if err != nil {
		w.log.Info("there can be no containers in this run: " + err.Error())
		return nil
	}
	w.containers = c
	return nil
}

func (w *Workspace) connect(ctx context.Context) (*containers, error) {
	if err := SweepContainers(ctx, w.manifest.Dir); err != nil {
		return nil, err
	}
	if err := w.state.markContainers(w.options.Run); err != nil {
		return nil, err
	}
	owner := container.Owner{Workspace: w.manifest.Dir, Name: w.manifest.Name, State: w.state.Dir, Run: w.options.Run, Temporary: w.options.Outside}
	engine, err := container.Connect(ctx, owner, w.state.Subnet())
	if err != nil {
		return nil, err
	}
	c := &containers{Engine: engine}
	err = w.state.keepSubnet(engine.Bridge().Subnet.String())
	if err == nil {
		err = c.near()
	}
	if err != nil {
		return nil, errors.Join(err, w.closeContainers(c))
	}
	return c, nil
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
	return &peers{Listener: ln, of: at.Subnet}, nil
}

// also listens on the bridge at the port of ln.
func (c *containers) also(ln net.Listener) (net.Listener, error) {
	return c.listen(ln.Addr().(*net.TCPAddr).Port)
}

// relay makes an address of loopback reachable on the bridge, at the same port.
func (c *containers) relay(address string) (string, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return "", err
	}
	for _, r := range c.relays {
		if r.to == address {
			return r.ln.Addr().String(), nil
		}
	}
	ln, err := c.listen(port)
	if err != nil {
		return "", err
	}
	c.relays = append(c.relays, relayed{ln, address})
	return ln.Addr().String(), nil
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
			if _, err := c.relay(address); err != nil && !errors.Is(err, syscall.EADDRINUSE) {
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

func (w *Workspace) engineLost(err error) {
	w.log.Warn(err.Error() + "; containers are out of reach until it is back")
}

// engineBack builds what could not be built meanwhile.
func (w *Workspace) engineBack() {
	w.log.Warn("the Docker engine is back")
	var names []string
	for _, s := range w.running() {
		if s.Container() {
			names = append(names, s.Name)
		}
	}
	_ = w.supervisor.Rebuild(names...) // one that was removed meanwhile needs none
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

// inside lays over a container's environment what is different there.
func (c *containers) inside(s *manifest.Service, values map[string]string) {
	if c == nil {
		return
	}
	if s.Listens() {
		values["HOST"], values["PORT"] = "0.0.0.0", strconv.Itoa(c.Port(s))
	}
	more := s.MorePorts()
	for name, port := range s.Ports {
		number, ok := more[name]
		if !ok {
			number = s.FixedPort()
		}
		variable := port.Variable
		if variable == "" {
			variable = manifest.EnvName(name) + "_PORT"
		}
		values[variable] = strconv.Itoa(number)
	}
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

// closeContainers removes the network with all that is on it.
func (w *Workspace) closeContainers(c *containers) error {
	if c == nil {
		return nil
	}
	for _, r := range c.relays {
		r.ln.Close() // closed already where it was served
	}
	defer c.Close()
	err := c.Remove(context.Background()) // teardown has a deadline of its own
	if err != nil {
		return fmt.Errorf("remove the containers: %w; the next mesh up or mesh down does", err)
	}
	return w.state.unmarkContainers()
}

// What may be left at the engine is marked in the state folder, so that nobody
// asks an engine for nothing.

func marker(state string) string { return (&State{Dir: state}).Path("run", "containers") }

func (s *State) markContainers(run string) error {
	return os.WriteFile(marker(s.Dir), []byte(run), 0o600)
}

func (s *State) unmarkContainers() error { return os.Remove(marker(s.Dir)) }

func (w *Workspace) sweepMarked(ctx context.Context) error {
	if !MayHaveLeft(w.state.Dir) {
		return nil
	}
	if err := container.SweepState(ctx, w.state.Dir); err != nil {
		w.log.Warn("what an earlier mesh left at the engine is still there: " + err.Error())
		return nil
	}
	return w.state.unmarkContainers()
}

// SweepRun removes what a daemon that has died left at the engine; its guard
// calls it.
func SweepRun(ctx context.Context, state, run string) error {
	marked, err := os.ReadFile(marker(state))
	if err != nil || string(marked) != run {
		return nil // it had none or has removed them itself, or a newer one has
	}
	if err := container.SweepRun(ctx, run); err != nil {
		return err
	}
	return os.Remove(marker(state))
}

// SweepContainers removes what earlier runs of a workspace left at the engine,
// of each copy of it whose mesh does not live any more.
func SweepContainers(ctx context.Context, dir string) error {
	return container.Sweep(ctx, dir, Alive)
}

// MayHaveLeft reports whether a run of this state folder may have left something
// at the engine.
func MayHaveLeft(state string) bool {
	_, err := os.Stat(marker(state))
	return err == nil
}

// SweepAfterDeath does what SweepContainers does. Where nothing can have been
// left, an engine that does not answer is no error.
func SweepAfterDeath(ctx context.Context, dir, state string) error {
	left := MayHaveLeft(state)
	quick, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := SweepContainers(quick, dir)
	switch {
	case err != nil && left:
		return fmt.Errorf("containers may be left: %w; mesh down again, once it answers", err)
	case left && !Alive(state):
		return os.Remove(marker(state))
	}
	return nil
}

// Subnet of the last run's bridge.
func (s *State) Subnet() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.Subnet
}

func (s *State) keepSubnet(subnet string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.Subnet == subnet {
		return nil
	}
	s.kept.Subnet = subnet
	return s.save()
}
