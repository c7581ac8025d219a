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
	firstProbe    = 5 * time.Millisecond
	longestProbe  = 250 * time.Millisecond
	workerSettle  = time.Second      // a worker that ran so long is healthy
	startPatience = 15 * time.Second // then a starting instance is called unhealthy
)

// generation identifies what an instance runs: one of another generation is
// replaced.
type generation struct {
	version string // of the code
	spec    string // of the manifest
	restart int    // how often the user asked for a restart
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

	entered bool // it takes traffic; of the goroutine too

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
	if s.Container() {
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
		if in.stopped() || ctx.Err() != nil {
			in.to(Exited, "stopped")
			return
		}
		if err == nil && !again.wanted(exit.Code) {
			in.finished(exit)
			return
		}
		reason := exit.String()
		if err != nil {
			reason = err.Error()
		}
		unavailable := errors.Is(err, ErrUnavailable)
		if unavailable {
			again.uncounted()
		} else if again.exhausted(time.Now()) {
			in.to(Failed, "%d starts within %v; the last: %s", len(again.starts), in.service.Restart.Window.Or(manifest.DefaultStartWindow), reason)
			return
		}
		delay := again.delay(time.Since(begun))
		if unavailable {
			delay = min(delay, time.Second) // it costs little to ask
		} else {
			in.view.Restarts++
		}
		in.to(Backoff, "%s; starts again in %v", reason, delay.Round(10*time.Millisecond))
		if !in.pause(ctx, delay) {
			in.to(Exited, "stopped")
			return
		}
	}
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
	case in.service.Kind == manifest.KindTask:
		in.to(Exited, "completed")
	default:
		in.to(Exited, "%s", exit)
	}
}

// once starts the instance and stays with it until it has ended.
func (in *instance) once(ctx context.Context) (process.Exit, error) {
	running, probe, err := in.start(ctx)
	if err != nil {
		return process.Exit{}, err
	}
	w := &watcher{instance: in, running: running, probe: probe, liveness: in.liveness(running)}
	w.watch(ctx)
	in.leave()
	exit := running.Exit()
	in.view.PID, in.view.ContainerID, in.view.ExitCode = 0, "", &exit.Code
	return exit, nil
}

// start launches the program with a fresh address.
func (in *instance) start(ctx context.Context) (Running, probe, error) {
	address, err := in.sup.env.Address(in.service, in.id)
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
	running, err := in.sup.driver(in.service).Start(ctx, Launch{
		Service: in.service, Instance: in.id, Argv: argv, Dir: in.service.Dir, Env: env,
		Address: address, Image: in.artifact.Image,
		Stdout: in.sup.logs.Writer(in.service.Name, in.id, logs.Stdout),
		Stderr: in.sup.logs.Writer(in.service.Name, in.id, logs.Stderr),
	})
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	in.view.PID, in.view.StartedAt, in.view.Address = running.PID(), &now, address
	if address != "" && in.service.Protocol != "tcp" {
		in.view.URL = "http://" + address
	}
	if c, ok := running.(Contained); ok {
		in.view.ContainerID = c.ContainerID()
	}
	in.to(Starting, "")
	probe, err := in.readiness(running, env)
	if err != nil {
		running.Stop(ctx, syscall.SIGKILL, 0)
		return nil, nil, err
	}
	return running, probe, nil
}

func (in *instance) readiness(running Running, env []string) (probe, error) {
	health, err := expandProbe(in.service.Health, env)
	if err != nil {
		return nil, fmt.Errorf("health: %w", err)
	}
	if in.service.Kind == manifest.KindTask {
		return nil, nil
	}
	p := in.probeOf(health, running, env)
	if p == nil {
		return nil, nil
	}
	return p.bounded(probeTimeout(in.service.Health)), nil
}

// probeOf makes a probe; in a container commands run inside, and a connection is
// made to the program itself: where its port is published the engine accepts.
func (in *instance) probeOf(p *manifest.Probe, running Running, env []string) probe {
	address := in.view.Address
	if c, ok := running.(Contained); ok {
		if p != nil && !p.Command.Empty() {
			return containedProbe(c, p.Command.Argv())
		}
		if address != "" && (p == nil || p.TCP) {
			address = c.InnerAddress()
		}
	}
	return newProbe(p, address, in.service.Dir, env)
}

func (in *instance) liveness(running Running) probe {
	live := in.service.Liveness
	if live == nil {
		return nil
	}
	return in.probeOf(live, running, nil).bounded(probeTimeout(live))
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
	// First the traffic, then the word: who hears that it is healthy may call it.
	healthy := in.view
	healthy.State, healthy.Reason = Healthy, ""
	in.sup.endpoints.Add(healthy)
	in.to(Healthy, "")
	in.first.Do(func() { close(in.ready) })
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
	if in.drain && served {
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
