package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/devtelemetry"
	"github.com/ebef7166/mesh/internal/keypair"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/build"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
)

// Options says how to run a workspace.
type Options struct {
	State    *State
	Gateway  string       // address instead of the manifest's; "" for that
	Watch    bool         // rebuild what is saved
	Driver   string       // of services that do not say theirs; "" for process
	Run      string       // identifies this run at the container engine
	Outside  bool         // give a command outside addresses and a login of its own (OutsideEnv)
	Isolated bool         // one copy of many: no port is taken that the manifest fixes
	Logger   *slog.Logger // what mesh itself has to say

	// Read reads the manifest, and says what of it is to run.
	Read func() (*manifest.Workspace, manifest.Selection, error)

	// Generate brings the code in a workspace's folder up to date with its
	// contracts. A mistake in them is an error with a line for each. Nil: nobody does.
	Generate func(ctx context.Context, dir string) error
}

// Workspace is a running one.
type Workspace struct {
	options Options
	state   *State
	log     *slog.Logger
	opened  time.Time // before the manifests were read

	began *manifest.Workspace // what Open was given

	mu        sync.Mutex
	manifest  *manifest.Workspace
	selected  []*manifest.Service
	selection manifest.Selection // as it stands for what is saved
	moves     []string           // see Moves

	urls        map[string]string // of the built-ins, by name, as they are on this machine; written before Run's services start
	registry    *devregistry.Registry
	gateway     *devgateway.Gateway
	access      devgateway.AccessLog
	certificate *keypair.Source       // the gateway's; nil: it has none
	identity    *devidentity.Provider // nil: the workspace has an issuer of its own
	issuer      *devidentity.Remote   // that one
	broker      *broker
	telemetry   *devtelemetry.Store
	databases   *databases
	links       *links
	endpoints   *endpoints
	logs        *logs.Store
	processes   *process.Driver
	driven      func(context.Context) error // see drive
	containers  atomic.Pointer[containers]  // nil: none has joined yet
	joining     sync.Mutex                  // held while the first container joins
	serving     *serving
	builder     *build.Builder
	supervisor  *runtime.Supervisor

	dns       net.PacketConn          // of the registry, beside its listener
	listeners map[string]net.Listener // of the built-ins, by name
	usage     usage
	ports     reservations
	stopping  atomic.Bool
	refused   atomic.Pointer[string] // why the manifests on disk are not applied
	unread    atomic.Pointer[error]  // what is wrong with a file of variables of what runs
	contracts atomic.Pointer[string] // what is wrong with them; nil: nothing, as far as is known
	storms    storms
	tellings  tellings
}

// Open starts the built-ins of a workspace: they listen when it returns, but for the
// broker (Begun). Run makes them serve and starts the services. An error leaves nothing
// behind.
func Open(ctx context.Context, o Options) (_ *Workspace, err error) {
	w := &Workspace{options: o, state: o.State, log: o.Logger, opened: time.Now(),
		urls: map[string]string{}, listeners: map[string]net.Listener{}, serving: newServing(), processes: process.NewDriver(o.State.Dir), usage: usage{samples: map[int]sample{}}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.logs, err = logs.Open(o.State.Path("logs")); err != nil {
		return nil, err
	}
	w.log = alsoTo(w.logs, o.Logger)
	w.drive()
	if err := w.read(); err != nil {
		return nil, err
	}
	// What is left of an earlier run may have a port that is listened on next.
	if err := w.processes.AwaitClean(); err != nil {
		return nil, err
	}
	w.fixPorts()
	if err := w.listen(ctx); err != nil {
		return nil, err
	}
	if w.usesEvents() {
		go func() { _, _ = w.broker.begun() }() // Begun tells how it went
	}
	if err := w.assemble(ctx); err != nil {
		return nil, err
	}
	// From here on whoever asks sees every service, if only as pending.
	w.apply(w.selected, w.supervisor.Observed())
	return w, nil
}

// drive has the process driver get ready beside what comes next. driven waits for its
// end, which the end of its context begins.
func (w *Workspace) drive() {
	driving, cancel := context.WithCancel(context.Background())
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = w.processes.Run(driving)
	}()
	w.driven = func(ctx context.Context) error {
		select {
		case <-ctx.Done():
		case <-ended:
		}
		cancel()
		<-ended
		return err
	}
}

// read reads the manifest, and what of it is to run.
func (w *Workspace) read() error {
	m, selection, err := w.options.Read()
	if err != nil {
		return err
	}
	m.UseDriver(w.options.Driver)
	selected, err := m.Select(selection)
	if err != nil {
		return err
	}
	w.began, w.manifest, w.selected, w.selection = m, m, selected, selection
	return nil
}

// assemble makes the parts.
func (w *Workspace) assemble(ctx context.Context) error {
	if err := w.builtins(); err != nil {
		return err
	}
	w.supervise()
	if err := w.builder.Sweep(); err != nil {
		w.log.Warn("what a build of an earlier mesh left is still there: " + err.Error())
	}
	if err := w.sweepMarked(ctx); err != nil {
		return err
	}
	if err := w.join(ctx, w.selected); err != nil {
		return err
	}
	return w.configure(ctx)
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

// Warn makes a warning part of the logs that people look at.
func (w *Workspace) Warn(text string) { w.log.Warn(text) }

// Run serves and supervises until ctx ends, and then stops the services in
// order. hard ends the patience with those that do not stop.
func (w *Workspace) Run(ctx, hard context.Context) error {
	defer w.close()
	// What serves the services outlives them.
	serving, stop := context.WithCancel(hard)
	defer stop()
	parts, serving := errgroup.WithContext(serving)
	w.serve()
	parts.Go(func() error { return w.serving.run(serving) })
	parts.Go(w.Begun)
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

// Begun waits for what Open left to begin beside what comes next: the broker, where a
// service needs it. Run fails with its error, too.
func (w *Workspace) Begun() error {
	if !w.usesEvents() {
		return nil
	}
	_, err := w.broker.begun()
	return err
}

// close gives up what Open took; each part may be missing.
func (w *Workspace) close() {
	w.ports.release()
	for _, ln := range w.listeners {
		ln.Close() // closed already where it was served
	}
	if w.dns != nil {
		w.dns.Close() // closed already where it was served
	}
	if w.links != nil {
		w.links.shut()
	}
	w.broker.close()
	if w.driven != nil {
		over, end := context.WithCancel(context.Background())
		end()
		_ = w.driven(over) // AwaitClean has told why it failed, or Run
	}
	if err := w.closeContainers(w.containers.Load()); err != nil {
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

// DeadEvents are the newest n events that a service could not process.
func (w *Workspace) DeadEvents(ctx context.Context, n int) ([]devbroker.DeadLetter, error) {
	b, err := w.broker.again()
	if err != nil {
		return nil, err
	}
	return b.Dead(ctx, n)
}

// Stopping reports that everything is being stopped.
func (w *Workspace) Stopping() bool { return w.stopping.Load() }

// Supervisor steers the services.
func (w *Workspace) Supervisor() *runtime.Supervisor { return w.supervisor }

// Logs are what the services print.
func (w *Workspace) Logs() *logs.Store { return w.logs }

// Access is the log of the gateway and the links.
func (w *Workspace) Access() *devgateway.AccessLog { return &w.access }

// Token makes an access token.
func (w *Workspace) Token(ctx context.Context, r devidentity.TokenRequest) (string, error) {
	if w.identity == nil {
		return "", w.errNotOurs()
	}
	return w.identity.Issue(ctx, r)
}

// RotateKeys makes a new key that signs tokens.
func (w *Workspace) RotateKeys() (devidentity.Rotation, error) {
	if w.identity == nil {
		return devidentity.Rotation{}, w.errNotOurs()
	}
	return w.identity.Rotate()
}

// ErrNotOurs says that something of the identity provider cannot be done, since the
// workspace has an issuer of its own.
var ErrNotOurs = errors.New("only that provider makes tokens and keys")

func (w *Workspace) errNotOurs() error {
	return fmt.Errorf("identity.issuer is %s: %w", w.urls["identity"], ErrNotOurs)
}

// Routes are the gateway's.
func (w *Workspace) Routes() []devgateway.Route { return w.gateway.Routes() }

// URLs are the addresses of the built-ins, by name.
func (w *Workspace) URLs() map[string]string {
	all := make(map[string]string, len(w.urls))
	for name := range w.urls {
		all[name] = w.url(name)
	}
	return all
}

// Means names how the processes of services are held together, for people.
func (w *Workspace) Means() string { return w.processes.Means() }

// PID of the daemon.
func (w *Workspace) PID() int { return os.Getpid() }
