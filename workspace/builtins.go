package workspace

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/devtelemetry"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/build"
)

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
	if err := w.took("gateway", ln); err != nil {
		return err
	}
	w.urls["gateway"] = w.gatewayURL(ln.Addr().String()) // people's, not services'
	names := []string{"registry", "telemetry"}
	if w.urls["identity"] = w.manifest.Identity.Issuer; w.urls["identity"] == "" {
		names = append(names, "identity")
	}
	for _, name := range names {
		ln, moved, err := w.state.Listen(name)
		if err != nil {
			return err
		}
		if moved != nil {
			w.log.Warn(moved.String())
		}
		if err := w.took(name, ln); err != nil {
			return err
		}
	}
	tcp, udp, moved, err := w.state.ListenBoth("registry_dns")
	if err != nil {
		return err
	}
	if moved != nil {
		w.log.Warn(moved.String())
	}
	w.listeners["registry_dns"], w.dns = []net.Listener{tcp}, udp
	w.urls["registry_dns"] = "dns://" + tcp.Addr().String()
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
		ln, moved, err := w.state.Listen("gateway")
		if moved != nil {
			w.log.Warn(moved.String())
		}
		return ln, err
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

// took keeps a listener, and one beside it on the bridge of the containers, whose
// address everybody is then told.
func (w *Workspace) took(name string, ln net.Listener) error {
	w.listeners[name] = append(w.listeners[name], ln)
	w.urls[name] = "http://" + w.address(ln.Addr().String())
	if w.containers == nil || !ln.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return nil
	}
	beside, err := w.containers.also(ln)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.listeners[name] = append(w.listeners[name], beside)
	return nil
}

// builtins makes the parts; nothing is served yet.
func (w *Workspace) builtins() (err error) {
	tokens, err := w.identify()
	if err != nil {
		return err
	}
	// The broker binds by itself; its port is reserved until just before.
	ln, moved, err := w.state.Listen("broker")
	if err != nil {
		return err
	}
	if moved != nil {
		w.log.Warn(moved.String())
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return err
	}
	w.broker, err = devbroker.Start(devbroker.Config{Dir: w.state.Path("data", "broker"), Addr: address, Users: w.brokerUsers(), Logger: w.log.With("part", "broker")})
	if err != nil {
		return err
	}
	w.urls["broker"] = "nats://" + w.address(w.broker.Addr())
	if w.containers != nil {
		if err := w.containers.relay(w.broker.Addr()); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	w.telemetry = devtelemetry.New(devtelemetry.Config{})
	w.registry, err = devregistry.New(devregistry.Config{Keys: w.state.Path("data", "registry", "keys.json"), Containers: w.containers.subnets(), Logger: w.log.With("part", "registry")})
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	w.gateway = devgateway.New(devgateway.Config{Verifier: verifier{tokens}, Hosts: w.manifest.Gateway.Hosts,
		Issuer: w.urls["identity"], Logger: w.log.With("part", "gateway"), Observe: w.observe, Why: w.why, Hold: w.hold})
	w.endpoints = newEndpoints(w.registry, w.gateway, w.protocolOf)
	w.links = newLinks(w.gateway, w.state, w.containers, w.options.Isolated, func(text string) { w.log.Warn(text) })
	w.databases = newDatabases(w.state)
	return w.containers.relayDatabases(w.manifest)
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
	builder := &build.Builder{Dir: w.manifest.Dir, Bin: w.state.Path("bin"), Logs: w.logs, Environment: env, Processes: w.processes,
		Progress: func(service, text string) { w.supervisor.Progress(service, text) }}
	options := runtime.Options{Logs: w.logs, Endpoints: w.endpoints, Environment: env, Builder: builder, Processes: runtime.Processes{Driver: w.processes}}
	if w.containers != nil {
		builder.Images, options.Containers = w.containers, w.containers
	}
	w.supervisor = runtime.New(options)
}

// serve starts the built-ins' servers.
func (w *Workspace) serve(ctx context.Context, parts *errgroup.Group) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", w.telemetry.MetricsHandler())
	mux.Handle("/", w.telemetry.Handler())
	parts.Go(func() error { return w.processes.Run(ctx) })
	parts.Go(func() error { return w.registry.Run(ctx) })
	parts.Go(func() error { return w.endpoints.follow(ctx) })
	parts.Go(func() error { return w.links.run(ctx) })
	if w.containers != nil {
		w.containers.serve(ctx, parts, w.engineLost, w.engineBack)
	}
	each := func(name string, serve func(net.Listener) error) {
		for _, ln := range w.listeners[name] {
			parts.Go(func() error { return serve(ln) })
		}
	}
	each("gateway", func(ln net.Listener) error { return w.gateway.Serve(ctx, w.secured(ln)) })
	parts.Go(func() error { return w.registry.ServeDNS(ctx, w.dns, w.listeners["registry_dns"][0]) })
	each("registry", func(ln net.Listener) error { return serveLocal(ctx, ln, w.registry.Handler(), time.Minute) })
	each("identity", func(ln net.Listener) error { return serveLocal(ctx, ln, w.identity.Handler(), time.Minute) })
	// Exporters send once a minute: closing after a minute would race them.
	each("telemetry", func(ln net.Listener) error { return serveLocal(ctx, ln, mux, 5*time.Minute) })
}
