package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/devtelemetry"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/build"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
)

// Options says how to run a workspace.
type Options struct {
	State     *State
	Gateway   string             // address instead of the manifest's; "" for that
	Selection manifest.Selection // what to run
	Watch     bool               // rebuild what is saved
	Driver    string             // of services that do not say theirs; "" for process
	Run       string             // identifies this run at the container engine
	Outside   bool               // give a command outside addresses and a login of its own (OutsideEnv)
	Isolated  bool               // one copy of many: no port is taken that the manifest fixes
	Logger    *slog.Logger       // what mesh itself has to say
}

// Workspace is a running one.
type Workspace struct {
	options Options
	state   *State
	log     *slog.Logger
	started time.Time

	mu       sync.Mutex
	manifest *manifest.Workspace
	selected []*manifest.Service

	urls       map[string]string // of the built-ins, by name; written before Run's services start
	registry   *devregistry.Registry
	gateway    *devgateway.Gateway
	identity   *devidentity.Provider
	broker     *devbroker.Broker
	telemetry  *devtelemetry.Store
	databases  *databases
	links      *links
	endpoints  *endpoints
	logs       *logs.Store
	processes  *process.Driver
	containers *containers // nil: there can be none in this run
	supervisor *runtime.Supervisor

	dns       net.PacketConn // of the registry, beside its listener
	listeners map[string][]net.Listener
	usage     usage
	ports     reservations
	stopping  atomic.Bool
	refused   atomic.Pointer[string] // why the manifests on disk are not applied
	storms    storms
}

// Open starts the built-ins of a workspace: they listen when it returns. Run
// makes them serve and starts the services. An error leaves nothing behind.
func Open(ctx context.Context, m *manifest.Workspace, o Options) (_ *Workspace, err error) {
	m.UseDriver(o.Driver)
	selected, err := m.Select(o.Selection)
	if err != nil {
		return nil, err
	}
	w := &Workspace{options: o, state: o.State, log: o.Logger, started: time.Now(), manifest: m, selected: selected,
		urls: map[string]string{}, listeners: map[string][]net.Listener{}, processes: process.NewDriver(o.State.Dir), usage: usage{samples: map[int]sample{}}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.logs, err = logs.Open(o.State.Path("logs")); err != nil {
		return nil, err
	}
	w.log = alsoTo(w.logs, o.Logger)
	if err := w.openContainers(ctx); err != nil {
		return nil, err
	}
	if err := w.listen(ctx); err != nil {
		return nil, err
	}
	if err := w.builtins(); err != nil {
		return nil, err
	}
	w.supervise()
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	// From here on whoever asks sees every service, if only as pending.
	w.apply(w.selected)
	return w, nil
}

// OwnLog is the name under which mesh's own warnings are in the logs.
const OwnLog = "mesh"

// alsoTo makes what mesh itself warns of part of the logs that people look at.
func alsoTo(store *logs.Store, log *slog.Logger) *slog.Logger {
	visible := slog.NewTextHandler(store.Writer(OwnLog, OwnLog, logs.Stderr), &slog.HandlerOptions{Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // the log has its own
			}
			return a
		}})
	return slog.New(slog.NewMultiHandler(log.Handler(), visible))
}

// listen takes the addresses of the built-ins: the gateway's first, since that
// is the one that may be busy and that nobody else may take.
func (w *Workspace) listen(ctx context.Context) error {
	ln, err := w.listenGateway(ctx)
	if err != nil {
		return err
	}
	if err := w.took("gateway", ln); err != nil {
		return err
	}
	w.urls["gateway"] = "http://" + ln.Addr().String() // people's, not services'
	for _, name := range []string{"registry", "identity", "telemetry"} {
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
	w.identity, err = devidentity.New(devidentity.Config{Dir: w.state.Path("data", "identity"), Issuer: w.urls["identity"],
		Audience: w.manifest.Name, Users: users(w.manifest), Clients: w.clients(), Logger: w.log.With("part", "identity")})
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
		return fmt.Errorf("broker: %w", err)
	}
	w.urls["broker"] = "nats://" + w.address(w.broker.Addr())
	if w.containers != nil {
		if err := w.containers.relay(w.broker.Addr()); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	w.telemetry = devtelemetry.New(devtelemetry.Config{})
	w.registry = devregistry.New()
	w.gateway = devgateway.New(devgateway.Config{Verifier: verifier{w.identity.Verifier()}, Hosts: w.manifest.Gateway.Hosts,
		Issuer: w.urls["identity"], Logger: w.log.With("part", "gateway"), Observe: w.observe, Why: w.why, Hold: w.hold})
	w.endpoints = newEndpoints(w.registry, w.gateway, w.protocolOf)
	w.links = newLinks(w.gateway, w.state, w.containers, w.options.Isolated, func(text string) { w.log.Warn(text) })
	w.databases = newDatabases(w.state)
	return w.containers.relayDatabases(w.manifest)
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

// configure gives the built-ins what the manifest says.
func (w *Workspace) configure(ctx context.Context) error {
	selected := w.running()
	table, err := devgateway.Compile(routes(selected))
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	w.gateway.SetTable(table)
	w.gateway.SetCORS(w.Manifest().Gateway.Origins())
	return errors.Join(w.links.apply(ctx, selected, w.options.Outside), w.state.Save())
}

// Run serves and supervises until ctx ends, and then stops the services in
// order. hard ends the patience with those that do not stop.
func (w *Workspace) Run(ctx, hard context.Context) error {
	defer w.close()
	// What serves the services outlives them.
	serving, stop := context.WithCancel(hard)
	defer stop()
	parts, serving := errgroup.WithContext(serving)
	w.serve(serving, parts)
	supervising, halt := context.WithCancel(ctx)
	defer halt()
	context.AfterFunc(supervising, func() { w.stopping.Store(true) })
	context.AfterFunc(serving, halt) // the first part that fails stops all
	if w.options.Watch {
		parts.Go(func() error { return w.watch(supervising) })
	}
	err := w.supervisor.Run(supervising, hard)
	halt()
	stop()
	if failed := parts.Wait(); failed != nil && hard.Err() == nil {
		return failed
	}
	return err
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
	each("gateway", func(ln net.Listener) error { return w.gateway.Serve(ctx, ln) })
	parts.Go(func() error { return w.registry.ServeDNS(ctx, w.dns, w.listeners["registry_dns"][0]) })
	each("registry", func(ln net.Listener) error { return serveLocal(ctx, ln, w.registry.Handler(), time.Minute) })
	each("identity", func(ln net.Listener) error { return serveLocal(ctx, ln, w.identity.Handler(), time.Minute) })
	// Exporters send once a minute: closing after a minute would race them.
	each("telemetry", func(ln net.Listener) error { return serveLocal(ctx, ln, mux, 5*time.Minute) })
}

func (w *Workspace) apply(services []*manifest.Service) {
	w.supervisor.Apply(runtime.NewPlan(services, w.supervisor.Observed()), services)
}

// close gives up what Open took; each part may be missing.
func (w *Workspace) close() {
	w.ports.release()
	for _, lns := range w.listeners {
		for _, ln := range lns {
			ln.Close() // closed already where it was served
		}
	}
	if w.dns != nil {
		w.dns.Close() // closed already where it was served
	}
	if w.links != nil {
		w.links.shut()
	}
	if w.broker != nil {
		w.broker.Shutdown()
	}
	if err := w.closeContainers(w.containers); err != nil {
		w.log.Warn(err.Error())
	}
	if w.logs != nil {
		if err := w.logs.Close(); err != nil {
			w.log.Warn("logs: " + err.Error())
		}
	}
}

// Manifest is the newest manifest that was applied.
func (w *Workspace) Manifest() *manifest.Workspace {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.manifest
}

// Apply brings the running workspace to a new manifest and selection, and does
// nothing else. The plan that it carried out is returned.
func (w *Workspace) Apply(ctx context.Context, m *manifest.Workspace, sel manifest.Selection) (runtime.Plan, error) {
	plan, err := w.applyAll(ctx, m, sel)
	return plan, w.note(err)
}

func (w *Workspace) applyAll(ctx context.Context, m *manifest.Workspace, sel manifest.Selection) (runtime.Plan, error) {
	sel = w.Widen(m, sel)
	selected, err := m.Select(sel)
	if err != nil {
		return nil, err
	}
	if w.containers == nil && manifest.HasContainers(selected) {
		return nil, errProcessesOnly
	}
	if was := w.Manifest().Gateway.Address; was != m.Gateway.Address {
		w.log.Warn("gateway.address is " + m.Gateway.Address + " now: it listens on " + w.urls["gateway"] + " until mesh down and mesh up")
	}
	w.mu.Lock()
	w.manifest, w.selected, w.options.Selection = m, selected, sel
	w.mu.Unlock()
	if err := w.identity.Update(users(m), w.clients()); err != nil {
		return nil, err
	}
	if err := w.broker.Apply(ctx, w.brokerUsers()); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	w.storms.forget()
	plan := runtime.NewPlan(selected, w.supervisor.Observed())
	w.supervisor.Apply(plan, selected)
	return plan, nil
}

// RunTask runs a task once more, or for the first time where it is not part of
// this run. It returns once the task has been told.
func (w *Workspace) RunTask(ctx context.Context, name string) error {
	m := w.Manifest()
	task, ok := m.Service(name)
	if !ok {
		return &manifest.UnknownService{Name: name, Known: m.Names()}
	}
	w.mu.Lock()
	part := slices.Contains(w.selected, task)
	if !part {
		w.selected = append(slices.Clone(w.selected), task)
	}
	selected := w.selected
	w.mu.Unlock()
	if part {
		return w.supervisor.Restart(name)
	}
	if err := w.configure(ctx); err != nil {
		return err
	}
	w.apply(selected)
	return nil
}

// DeadEvents are the newest n events that a service could not process.
func (w *Workspace) DeadEvents(ctx context.Context, n int) ([]devbroker.DeadLetter, error) {
	return w.broker.Dead(ctx, n)
}

// Widen adds what runs to a selection that names services: naming one more stops
// no other.
func (w *Workspace) Widen(m *manifest.Workspace, sel manifest.Selection) manifest.Selection {
	if len(sel.Names) == 0 {
		return sel
	}
	sel.Names = slices.Clone(sel.Names)
	sel.External = w.stillExternal(m, sel)
	for _, s := range w.running() {
		if _, still := m.Service(s.Name); still && !slices.Contains(sel.Names, s.Name) && !slices.Contains(sel.Except, s.Name) {
			sel.Names = append(sel.Names, s.Name)
		}
	}
	return sel
}

// stillExternal are the services that somebody else runs: those of a selection,
// and those that were so before.
func (w *Workspace) stillExternal(m *manifest.Workspace, sel manifest.Selection) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]string{}
	for name, at := range w.options.Selection.External {
		if _, still := m.Service(name); still && !slices.Contains(sel.Except, name) {
			all[name] = at
		}
	}
	maps.Copy(all, sel.External)
	return all
}

// Reload applies the manifest as it is on disk now.
func (w *Workspace) Reload(ctx context.Context) (runtime.Plan, error) {
	m, err := w.Load()
	if err != nil {
		return nil, w.note(err)
	}
	w.mu.Lock()
	sel := w.options.Selection
	w.mu.Unlock()
	return w.Apply(ctx, m, sel)
}

// Load reads the manifests as they are on disk, for this run.
func (w *Workspace) Load() (*manifest.Workspace, error) {
	m, err := manifest.Load(w.Manifest().Dir)
	if err == nil {
		m.UseDriver(w.options.Driver)
	}
	return m, err
}

// Stopping reports that everything is being stopped.
func (w *Workspace) Stopping() bool { return w.stopping.Load() }

// Supervisor steers the services.
func (w *Workspace) Supervisor() *runtime.Supervisor { return w.supervisor }

// Logs are what the services print.
func (w *Workspace) Logs() *logs.Store { return w.logs }

// Token makes an access token.
func (w *Workspace) Token(ctx context.Context, r devidentity.TokenRequest) (string, error) {
	return w.identity.Issue(ctx, r)
}

// Routes are the gateway's.
func (w *Workspace) Routes() []devgateway.Route { return w.gateway.Routes() }

// URLs are the addresses of the built-ins, by name.
func (w *Workspace) URLs() map[string]string { return w.urls }

// Means names how the processes of services are held together, for people.
func (w *Workspace) Means() string { return w.processes.Means() }

// PID of the daemon.
func (w *Workspace) PID() int { return os.Getpid() }

// why says for a gateway's 503 what is the matter with a service.
func (w *Workspace) why(service string) string {
	worst, found := worstOf(w.supervisor.Instances(service))
	if !found {
		return "it does not run"
	}
	if worst.Reason == "" {
		return "it is " + string(worst.State)
	}
	return "it is " + string(worst.State) + ": " + worst.Reason
}

// How long a request waits for a service that will soon have an instance: longer
// for one that is always stopped before it is started anew.
const (
	shortHold   = time.Second
	replaceHold = 10 * time.Second
)

// hold is how long a request waits for a service without a healthy instance.
func (w *Workspace) hold(service string) time.Duration {
	now := w.supervisor.Look(service)
	state, _ := now.Service(service)
	soon := slices.ContainsFunc(now.Instances, func(i runtime.Instance) bool { return !i.State.Final() })
	s, known := w.Manifest().Service(service)
	switch {
	case !soon && (!state.Changing || state.Stopped): // between two instances it is changing
		return 0
	case known && s.Reload == "replace":
		return replaceHold
	}
	return shortHold
}
