package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/internal/broadcast"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/workspace"
)

// Of makes a running workspace servable. version is mesh's own; stop ends the
// daemon in order, kill at once.
func Of(w *workspace.Workspace, socket, version string, stop, kill func()) Workspace {
	return &adapter{Workspace: w, socket: socket, version: version, started: time.Now(), stop: stop, kill: kill}
}

type adapter struct {
	*workspace.Workspace
	socket, version string
	started         time.Time
	stop, kill      func()
}

func (a *adapter) Status(context.Context) Status {
	m, urls, now := a.Manifest(), a.URLs(), a.Supervisor().Snapshot()
	return Status{
		Workspace: m.Dir, Name: m.Name, PID: a.PID(), State: a.overall(now), Version: a.version, StartedAt: a.started,
		Isolation: a.Means(), Problems: a.Problems(),
		Gateway: Endpoint{urls["gateway"]}, Registry: Endpoint{urls["registry"]}, RegistryDNS: Endpoint{urls["registry_dns"]}, Identity: Endpoint{urls["identity"]},
		Broker: Endpoint{urls["broker"]}, OTLPGRPC: Endpoint{urls["otlp_grpc"]}, OTLPHTTP: Endpoint{urls["otlp_http"]},
		Metrics: Endpoint{urls["metrics"]}, Control: Endpoint{"unix://" + a.socket},
		FixedPorts: a.FixedPorts(), Services: now.Services,
	}
}

// overall is the state of all services in one word.
func (a *adapter) overall(now runtime.Snapshot) string {
	if a.Stopping() {
		return "stopping"
	}
	state := "healthy"
	for _, s := range now.Services {
		if s.BuildError != "" {
			return "degraded"
		}
	}
	for _, i := range now.Instances {
		switch i.State {
		case runtime.Failed, runtime.Unhealthy, runtime.Backoff:
			return "degraded"
		case runtime.Pending, runtime.Building, runtime.Starting:
			state = "starting"
		}
	}
	return state
}

func (a *adapter) Subscribe() (runtime.Snapshot, *broadcast.Subscription[runtime.Event]) {
	return a.Supervisor().Subscribe()
}

func (a *adapter) FollowLogs(ctx context.Context, q logs.Query, follow bool, emit func([]logs.Line) error) error {
	if err := a.known(q.Services); err != nil {
		return err
	}
	if !follow {
		return emit(a.Logs().Recent(q))
	}
	return a.Logs().Follow(ctx, q, emit)
}

func (a *adapter) FollowAccess(ctx context.Context, q devgateway.AccessQuery, follow bool, emit func([]devgateway.AccessLine) error) error {
	if err := a.known(q.Services); err != nil {
		return err
	}
	return a.Access().Follow(ctx, q, follow, emit)
}

func (a *adapter) known(services []string) error {
	m := a.Manifest()
	for _, name := range services {
		if _, ok := m.Service(name); !ok && name != workspace.OwnLog {
			return &manifest.UnknownService{Name: name, Known: m.Names()}
		}
	}
	return nil
}

func (a *adapter) Routes() []devgateway.Route { return a.Workspace.Routes() }

func (a *adapter) Environment(service string, reveal bool) (Environment, error) {
	vars, err := a.Variables(service)
	if err != nil {
		return Environment{}, err
	}
	e := Environment{Values: vars.Values, Secrets: slices.Sorted(maps.Keys(vars.Secrets))}
	if !reveal {
		for _, name := range e.Secrets {
			e.Values[name] = Masked
		}
	}
	return e, nil
}

func (a *adapter) Explain(_ context.Context, service string) (Explanation, error) {
	return a.Workspace.Explain(service)
}

func (a *adapter) Steer(verb string, services []string) error {
	return a.absent(a.steer(verb, services))
}

// absent says of a service that the manifest has, and nobody asked for, that it is not
// part of this run: it is no unknown one.
func (a *adapter) absent(err error) error {
	var unknown *manifest.UnknownService
	if !errors.As(err, &unknown) {
		return err
	}
	if _, known := a.Manifest().Service(unknown.Name); !known {
		return err
	}
	return Absent(unknown.Name)
}

func (a *adapter) steer(verb string, services []string) error {
	s := a.Supervisor()
	switch verb {
	case "start":
		return s.Start(services...)
	case "stop":
		return s.Stop(services...)
	case "restart":
		return s.Restart(services...)
	case "rebuild":
		return s.Rebuild(services...)
	}
	return &Error{fmt.Sprintf("no order is called %q: start, stop, restart, rebuild", verb), CodeInvalid}
}

func (a *adapter) Scale(service string, replicas int) error {
	return a.absent(a.Supervisor().Scale(service, replicas))
}

func (a *adapter) Apply(ctx context.Context, r ApplyRequest) (runtime.Plan, error) {
	if err := a.SameDriver(r.Driver); err != nil {
		return nil, err
	}
	m, err := a.Load()
	if err != nil {
		return nil, err
	}
	if r.DryRun {
		return a.Plan(m, r.Selection)
	}
	return a.Workspace.Apply(ctx, m, r.Selection)
}

func (a *adapter) Token(ctx context.Context, r TokenRequest) (string, error) {
	token, err := a.Workspace.Token(ctx, devidentity.TokenRequest{User: r.User, Client: r.Client, Scopes: r.Scopes, TTL: r.Expires})
	switch {
	case errors.Is(err, workspace.ErrNotOurs):
		return "", &Error{err.Error(), CodeFailed}
	case err != nil:
		return "", &Error{err.Error(), CodeUnknown}
	}
	return token, nil
}

func (a *adapter) Shutdown(now bool) {
	a.stop()
	if now {
		a.kill()
	}
}
