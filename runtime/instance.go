package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
)

// How soon a starting instance is probed again: quickly at first.
const (
	firstProbe      = 5 * time.Millisecond
	longestProbe    = 250 * time.Millisecond
	workerSettle    = time.Second      // a worker that ran so long is healthy
	settledInterval = 10 * time.Second // between looks at a port that accepts, where no health is declared: that it still does says little
	startPatience   = 15 * time.Second // then a starting instance is called unhealthy
)

// generation identifies what an instance runs: one of another generation is
// replaced.
type generation struct {
	artifact string // its identity
	spec     string // of the manifest
	restart  int    // how often the user asked for a restart
}

// instance is one instance through all its restarts. Its goroutine alone changes
// it; others read the table, and ask through stop.
type instance struct {
	sup      *Supervisor
	id       string
	service  *manifest.Service
	artifact Artifact
	gen      generation
	view     Instance // the instance's own goroutine alone reads and writes it

	entered bool   // it takes traffic; of the goroutine too
	blame   string // why mesh ended the program; "" when it ended by itself

	stopping chan struct{} // closed by stop
	stopOnce sync.Once
	drain    bool          // set before stopping is closed
	ready    chan struct{} // closed when first healthy
	first    sync.Once
	done     chan struct{} // closed when the goroutine has ended
}

func newInstance(sup *Supervisor, s *manifest.Service, id string, a Artifact, gen generation) *instance {
	return &instance{
		sup: sup, id: id, service: s, artifact: a, gen: gen,
		view:     Instance{Service: s.Name, Instance: id, Kind: string(s.Kind), Driver: driverName(s), State: Pending, Version: a.Version},
		stopping: make(chan struct{}), ready: make(chan struct{}), done: make(chan struct{}),
	}
}

func driverName(s *manifest.Service) string {
	switch {
	case s.External():
		return "external"
	case s.Container():
		return "container"
	}
	return "process"
}

// stop asks the instance to end, after draining where drain says so. It does not
// wait; done is closed when it has ended.
func (in *instance) stop(drain bool) {
	in.stopOnce.Do(func() {
		in.drain = drain
		close(in.stopping)
	})
}

func (in *instance) to(state State, format string, args ...any) {
	in.view.State, in.view.Reason = state, fmt.Sprintf(format, args...)
	in.sup.table.set(in.view)
}

// run is the instance's goroutine. It ends when the instance is stopped, has
// failed for good or need not run again. ctx ends it without patience.
func (in *instance) run(ctx context.Context) {
	defer close(in.done)
	again := &restarts{policy: in.service.Restart}
	for {
		begun := time.Now()
		again.started(begun)
		exit, err := in.once(ctx)
		if in.over(ctx, again, exit, err) {
			return
		}
		delay := again.delay(time.Since(begun))
		if errors.Is(err, ErrUnavailable) {
			delay = min(delay, time.Second) // it costs little to ask
		}
		in.backoff(delay, exit, err)
		if !in.pause(ctx, delay) {
			in.to(Exited, "stopped")
			return
		}
	}
}

// over ends the instance, unless it is to be started again.
func (in *instance) over(ctx context.Context, again *restarts, exit process.Exit, err error) bool {
	unset, unread := (*manifest.UnsetVariable)(nil), (*manifest.UnreadFile)(nil)
	switch {
	case in.stopped() && exit.Signal == "SIGKILL" && in.service.Stop != nil && stopSignal(in.service.Stop) != syscall.SIGKILL:
		in.to(Exited, "stopped: killed, since it did not end within %v", in.service.Stop.Grace.Or(manifest.DefaultGrace))
	case in.stopped() || ctx.Err() != nil:
		in.to(Exited, "stopped")
	case err == nil && !again.wanted(exit.Code):
		in.finished(exit)
	case errors.As(err, &unset), errors.As(err, &unread): // trying again would find the same
		in.to(Failed, "could not be started: %v", err)
	case errors.Is(err, ErrUnavailable):
		again.uncounted()
		return false
	case again.exhausted(time.Now()):
		in.gaveUp(again, exit, err)
	default:
		return false
	}
	return true
}

// gaveUp is the end of an instance that was started too often, or could not be
// started at all (err).
func (in *instance) gaveUp(again *restarts, exit process.Exit, err error) {
	defer in.tell()
	window := in.service.Restart.Window.Or(manifest.DefaultStartWindow)
	if err != nil {
		in.to(Failed, "could not be started: %v; tried %d times within %v", err, len(again.starts), window)
		return
	}
	in.to(Failed, "%d starts within %v; the last: %s", len(again.starts), window, in.cause(exit))
}

// backoff says what the instance waits for after an exit, or after a start that
// was none (err) and so makes no restart of the next.
func (in *instance) backoff(delay time.Duration, exit process.Exit, err error) {
	delay = delay.Round(10 * time.Millisecond)
	if err != nil {
		in.to(Backoff, "could not be started: %v"+againIn+"%v", err, delay)
		return
	}
	in.view.Restarts++
	in.view.LastEnd = in.cause(exit) + ", at " + time.Now().Format(time.TimeOnly)
	in.to(Backoff, "%s"+againIn+"%v", in.cause(exit), delay)
	in.tell()
}

// tell makes the reason part of the instance's log: who looks later finds there what it
// was that ended.
func (in *instance) tell() { in.sup.tell(in.service.Name, in.id, in.view.Reason) }

// againIn stands before the time until the next start.
const againIn = "; starts again in "

// cause is why the program has ended, in words.
func (in *instance) cause(exit process.Exit) string {
	if in.blame != "" {
		return in.blame
	}
	return exit.String()
}

func (in *instance) stopped() bool {
	select {
	case <-in.stopping:
		return true
	default:
		return false
	}
}

func (in *instance) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-in.stopping:
	case <-ctx.Done():
	}
	return false
}

// finished is the end of an instance that is not to run again.
func (in *instance) finished(exit process.Exit) {
	switch {
	case exit.Code != 0:
		in.to(Failed, "%s", exit)
		in.tell()
	case in.service.Kind == manifest.KindTask:
		in.to(Exited, "completed")
	default:
		in.to(Exited, "%s", exit)
	}
}

// once starts the instance and stays with it until it has ended.
func (in *instance) once(ctx context.Context) (process.Exit, error) {
	in.blame = ""
	running, probes, err := in.start(ctx)
	if err != nil {
		return process.Exit{}, err
	}
	w := &watcher{instance: in, running: running, probe: probes.readiness, liveness: probes.liveness}
	w.watch(ctx)
	in.leave()
	exit := running.Exit()
	in.view.PID, in.view.ContainerID, in.view.ExitCode = 0, "", &exit.Code
	return exit, nil
}

// start launches the program with a fresh address.
func (in *instance) start(ctx context.Context) (Running, *probes, error) {
	address, err := in.address()
	if err != nil {
		return nil, nil, err
	}
	env, err := in.sup.env.Environ(in.service, in.id, address)
	if err != nil {
		return nil, nil, err
	}
	argv, err := ExpandAll(in.artifact.Argv, env)
	if err != nil {
		return nil, nil, fmt.Errorf("run: %w", err)
	}
	l := Launch{Service: in.service, Instance: in.id, Argv: argv, Dir: in.service.Dir, Env: env, Address: address, Image: in.artifact.Image,
		Stdout: in.sup.logs.Writer(in.service.Name, in.id, logs.Stdout),
		Stderr: in.sup.logs.Writer(in.service.Name, in.id, logs.Stderr)}
	probes, err := in.probes(l, address)
	if err != nil {
		return nil, nil, err
	}
	begun := time.Now() // before its first line
	running, err := in.sup.driver(in.service).Start(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	in.view.PID, in.view.Address = running.PID(), address
	if !in.service.External() {
		in.view.StartedAt = &begun
	}
	if address != "" && in.service.Protocol != "tcp" {
		in.view.URL = "http://" + address
	}
	if c, ok := running.(Contained); ok {
		in.view.ContainerID, in.view.Inner = c.ContainerID(), c.InnerAddress()
		if probes, err = in.probes(l, in.view.Inner); err != nil {
			running.Stop(ctx, syscall.SIGKILL, 0)
			return nil, nil, err
		}
	}
	in.to(Starting, "")
	return running, probes, nil
}

// address is a fresh one, or where somebody else runs the service.
func (in *instance) address() (string, error) {
	if in.service.External() {
		return in.service.Elsewhere(), nil
	}
	return in.sup.env.Address(in.service, in.id)
}

// probes of an instance; each is nil where there is nothing to ask.
type probes struct{ readiness, liveness probe }

func (in *instance) probes(l Launch, inner string) (p *probes, err error) {
	p = &probes{}
	if in.service.Kind == manifest.KindTask {
		return p, nil
	}
	if p.readiness, err = in.probe(in.service.Health, l, inner); err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	if in.service.Liveness == nil || in.service.External() { // which mesh does not restart
		return p, nil
	}
	if p.liveness, err = in.probe(in.service.Liveness, l, inner); err != nil {
		return nil, fmt.Errorf("liveness: %w", err)
	}
	return p, nil
}

// probe makes the probe that is declared. A mere connection is made to the inner
// address: where a container's port is published the engine accepts by itself.
func (in *instance) probe(declared *manifest.Probe, l Launch, inner string) (probe, error) {
	expanded, err := expandProbe(declared, l.Env)
	if err != nil {
		return nil, err
	}
	address := l.Address
	if declared == nil || declared.TCP {
		address = inner
	}
	p := newProbe(expanded, address, l, in.sup.driver(in.service).Exec)
	if p == nil {
		return nil, nil
	}
	return p.bounded(probeTimeout(declared)), nil
}

func probeTimeout(p *manifest.Probe) time.Duration {
	if p == nil {
		return manifest.DefaultProbeTimeout
	}
	return p.Timeout.Or(manifest.DefaultProbeTimeout)
}

// enter takes traffic.
func (in *instance) enter() {
	if in.entered {
		return
	}
	in.entered = true
	// First the traffic, then the word: who hears that it is healthy may call it, or
	// have it replaced, which only what is ready waits for.
	healthy := in.view
	healthy.State, healthy.Reason = Healthy, ""
	in.sup.endpoints.Add(healthy)
	in.first.Do(func() { close(in.ready) })
	in.to(Healthy, "")
}

// leave takes no new traffic.
func (in *instance) leave() {
	if in.entered {
		in.entered = false
		in.sup.endpoints.Remove(in.view)
	}
}

// end drains and stops the program.
func (in *instance) end(ctx context.Context, running Running) {
	in.to(Stopping, "")
	served := in.entered
	in.leave()
	stop := in.service.Stop
	if served && in.stopped() && in.drain { // which is set when it was told to stop, and not where all ends
		in.sup.endpoints.Drain(ctx, in.view, stop.Drain.Or(manifest.DefaultDrain))
	}
	running.Stop(ctx, stopSignal(stop), stop.Grace.Or(manifest.DefaultGrace))
}

func stopSignal(stop *manifest.Stop) syscall.Signal {
	if stop.Signal == "" {
		return syscall.SIGTERM
	}
	signal, err := process.Signal(stop.Signal)
	if err != nil {
		return syscall.SIGTERM // refused when the manifest was planned
	}
	return signal
}

// lookup reads an environment as manifest.Expand wants it.
func lookup(env []string) func(string) (string, bool) {
	values := make(map[string]string, len(env))
	for _, entry := range env {
		key, value, _ := strings.Cut(entry, "=")
		values[key] = value
	}
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

// ExpandAll expands ${NAME} and ${NAME:-default} in texts over an environment.
func ExpandAll(texts, env []string) ([]string, error) {
	find := lookup(env)
	out := make([]string, len(texts))
	for i, text := range texts {
		expanded, err := manifest.Expand(text, find)
		if err != nil {
			return nil, err
		}
		out[i] = expanded
	}
	return out, nil
}

func expandProbe(p *manifest.Probe, env []string) (*manifest.Probe, error) {
	if p == nil || p.Command.Empty() {
		return p, nil
	}
	argv, err := ExpandAll(p.Command.Argv(), env)
	copied := *p
	copied.Command = manifest.Command{Args: argv}
	return &copied, err
}
