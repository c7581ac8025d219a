package workspace

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/devtelemetry"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/build"
)

// registryDNS is the registry's other listener, beside the one for HTTP.
const registryDNS = "registry_dns"

// listen takes the addresses of the built-ins: the gateway's first, since that
// is the one that may be busy and that nobody else may take.
func (w *Workspace) listen(ctx context.Context) error {
	if err := w.openCertificate(); err != nil {
		return err
	}
	ln, err := w.listenGateway(ctx)
	if err != nil {
		return err
	}
	w.took("gateway", ln)
	w.urls["gateway"] = w.gatewayURL(ln.Addr().String()) // people's, not services'
	names := []string{"registry", "telemetry"}
	if w.urls["identity"] = w.manifest.Identity.Issuer; w.urls["identity"] == "" {
		names = append(names, "identity")
	}
	for _, name := range names {
		ln, err := w.keptListener(name)
		if err != nil {
			return err
		}
		w.took(name, ln)
	}
	if err := w.listenBroker(); err != nil {
		return err
	}
	tcp, udp, moved, err := w.state.ListenBoth(registryDNS)
	if err != nil {
		return err
	}
	w.warnMoved(moved)
	w.listeners[registryDNS], w.dns = tcp, udp
	w.urls[registryDNS] = "dns://" + tcp.Addr().String()
	w.urls["otlp_http"], w.urls["otlp_grpc"] = w.urls["telemetry"], w.urls["telemetry"]
	w.urls["metrics"] = w.urls["telemetry"] + "/metrics"
	delete(w.urls, "telemetry")
	return nil
}

// listenGateway takes the address that is asked for; an isolated copy keeps a port
// of its own where none is.
func (w *Workspace) listenGateway(ctx context.Context) (net.Listener, error) {
	address := w.options.Gateway
	if address == "" && w.options.Isolated {
		return w.keptListener("gateway")
	}
	if address == "" {
		address = w.manifest.Gateway.Address
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", busy(ctx, address, err))
	}
	return ln, nil
}

// keptListener listens at the port kept for a built-in.
func (w *Workspace) keptListener(name string) (net.Listener, error) {
	ln, moved, err := w.state.Listen(name)
	w.warnMoved(moved)
	return ln, err
}

func (w *Workspace) warnMoved(moved *Moved) {
	if moved != nil {
		w.hasMoved(moved.String())
	}
}

func (w *Workspace) hasMoved(text string) {
	w.log.Warn(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moves = append(w.moves, text)
}

// Moves says which addresses are not what they were in earlier runs.
func (w *Workspace) Moves() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.moves)
}

// fixPorts leaves the ports that the manifest fixes to whom it gives them.
func (w *Workspace) fixPorts() {
	fixed := map[int]bool{}
	if !w.options.Isolated {
		fixed[portOf(cmp.Or(w.options.Gateway, w.manifest.Gateway.Address))] = true
		for _, s := range w.selected {
			if s.KeepsPort() {
				fixed[s.Port] = true
			}
		}
	}
	w.state.Fix(fixed)
}

// portOf is the port of an address; 0 where it has none.
func portOf(address string) int {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	return port
}

func (w *Workspace) took(name string, ln net.Listener) {
	w.listeners[name] = ln
	w.urls[name] = "http://" + ln.Addr().String()
}

// builtins makes the parts; nothing is served yet.
func (w *Workspace) builtins() (err error) {
	tokens, err := w.identify()
	if err != nil {
		return err
	}
	w.telemetry = devtelemetry.New(devtelemetry.Config{})
	w.registry, err = devregistry.New(devregistry.Config{Keys: w.state.Path("data", "registry", "keys.json"), Containers: func() []netip.Prefix { return w.containers.Load().subnets() }, Logger: w.log.With("part", "registry")})
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	w.gateway = devgateway.New(devgateway.Config{Verifier: verifier{tokens}, Hosts: w.manifest.Gateway.Hosts,
		Issuer: func() string { return w.url("identity") }, Logger: w.log.With("part", "gateway"), Observe: w.observe, Why: w.why, Hold: w.hold})
	w.endpoints = newEndpoints(w.registry, w.gateway, w.protocolOf)
	w.links = newLinks(w.gateway, w.state, w.serving, w.options.Isolated, w.hasMoved)
	w.databases = newDatabases(w.state)
	return nil
}

// identify makes the identity provider, or the one that takes its place, and
// returns what verifies its tokens.
func (w *Workspace) identify() (tokens *devidentity.Verifier, err error) {
	if issuer := w.manifest.Identity.Issuer; issuer != "" {
		w.issuer = devidentity.NewRemote(issuer)
		return w.issuer.Verifier(w.manifest.TokenAudience(), w.manifest.Identity.RolesClaim), nil
	}
	w.identity, err = devidentity.New(devidentity.Config{Dir: w.state.Path("data", "identity"), Issuer: w.urls["identity"],
		Audience: w.manifest.TokenAudience(), Users: users(w.manifest), Clients: w.clients(), Logger: w.log.With("part", "identity")})
	if err != nil {
		return nil, err
	}
	return w.identity.Verifier(), nil
}

func (w *Workspace) supervise() {
	env := environment{ws: w, ports: &w.ports}
	w.builder = &build.Builder{Dir: w.manifest.Dir, Bin: w.state.Path("bin"), Logs: w.logs, Environment: env, Processes: w.processes,
		Images:   func() build.Images { return w.containers.Load() },
		Progress: func(service, text string) { w.supervisor.Progress(service, text) },
		InUse:    w.versions}
	w.supervisor = runtime.New(runtime.Options{Logs: w.logs, Endpoints: w.endpoints, Environment: env, Builder: w.builder,
		Processes: runtime.Processes{Driver: w.processes}, Containers: func() runtime.Driver { return w.containers.Load() }})
}

// versions are those of a service's instances.
func (w *Workspace) versions(service string) (versions []string) {
	for _, i := range w.supervisor.Look(service).Instances {
		versions = append(versions, i.Version)
	}
	return versions
}

// serve starts the built-ins' servers.
func (w *Workspace) serve() {
	w.serving.start(w.driven)
	w.serving.start(w.registry.Run)
	w.serving.start(w.endpoints.follow)
	for name, ln := range w.listeners {
		w.serving.start(func(ctx context.Context) error { return w.serveOne(ctx, name, ln) })
	}
}

// serveOne serves a listener of a built-in until ctx ends.
func (w *Workspace) serveOne(ctx context.Context, name string, ln net.Listener) error {
	switch name {
	case "gateway":
		return w.gateway.Serve(ctx, w.secured(ln))
	case "registry":
		return serveLocal(ctx, ln, w.registry.Handler(), time.Minute)
	case registryDNS:
		return w.registry.ServeDNS(ctx, w.dns, ln)
	case "identity":
		return serveLocal(ctx, ln, w.identity.Handler(), time.Minute)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", w.telemetry.MetricsHandler())
	mux.Handle("/", w.telemetry.Handler())
	return serveLocal(ctx, ln, mux, 5*time.Minute) // exporters send once a minute: closing after a minute would race them
}
