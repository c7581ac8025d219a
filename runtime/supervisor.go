package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/ebef7166/mesh/internal/broadcast"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/logs"
)

// Options is what a supervisor works with.
type Options struct {
	Logs        *logs.Store
	Endpoints   Endpoints
	Environment Environment
	Builder     Builder
	Processes   Driver
	Containers  func() Driver // asked for containers alone; nil: there are none
}

// Supervisor keeps services in the state that is wanted of them.
type Supervisor struct {
	logs       *logs.Store
	endpoints  Endpoints
	env        Environment
	processes  Driver
	containers func() Driver
	builds     *buildQueue
	table      *table

	mu    sync.Mutex
	units map[string]*unit
	fresh []*unit       // not launched yet
	wake  chan struct{} // has room for one: fresh holds something
}

// New returns a supervisor of nothing.
func New(o Options) *Supervisor {
	s := &Supervisor{logs: o.Logs, endpoints: o.Endpoints, env: o.Environment, processes: o.Processes,
		containers: o.Containers, table: newTable(), units: map[string]*unit{}, wake: make(chan struct{}, 1)}
	s.builds = newBuildQueue(o.Builder, s.built)
	return s
}

// Run supervises until ctx ends, and then stops every service, each after those
// that depend on it and within its grace. hard ends that patience: everything
// is killed.
func (s *Supervisor) Run(ctx, hard context.Context) error {
	unitCtx, cancel := context.WithCancel(hard)
	defer cancel()
	var building, units sync.WaitGroup
	building.Go(func() { s.builds.run(ctx) })
	for ctx.Err() == nil {
		select {
		case <-s.wake:
			for _, u := range s.takeFresh() {
				units.Go(func() { u.run(unitCtx) })
			}
		case <-ctx.Done():
		}
	}
	building.Wait()
	s.stopAll(hard)
	cancel()
	units.Wait()
	return nil
}

// takeFresh returns the units whose goroutines are to be started.
func (s *Supervisor) takeFresh() []*unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.fresh
	s.fresh = nil
	return fresh
}

func (s *Supervisor) driver(service *manifest.Service) Driver {
	if service.External() {
		return elsewhere{s.processes}
	}
	if service.Container() && s.containers != nil {
		return s.containers()
	}
	return s.processes
}

// Observed is what was last applied.
func (s *Supervisor) Observed() Observed {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, now := Observed{}, s.table.snapshot()
	for name, u := range s.units {
		observed := u.observed
		service, _ := now.Service(name)
		observed.Stopped, observed.Down, observed.Rejected = service.Stopped, down(now, name), rejected(service)
		o[name] = observed
	}
	return o
}

// down says why a service does not run by itself any more; a task that is done
// is not down.
func down(now Snapshot, name string) string {
	if service, _ := now.Service(name); service.Stopped {
		return "it was stopped"
	}
	for _, i := range now.Of(name) {
		if i.State == Failed {
			return "it has failed"
		}
	}
	return ""
}

// rejected says why the newest version of a service that runs does not serve.
func rejected(s Service) string {
	switch {
	case s.Building:
		return ""
	case s.BuildError != "":
		return "its newest version was not built"
	case s.Rejected != "":
		return "its newest version did not become healthy"
	}
	return ""
}

// Apply carries out a plan for the services it was made for.
func (s *Supervisor) Apply(plan Plan, services []*manifest.Service) {
	byName := map[string]*manifest.Service{}
	for _, svc := range services {
		byName[svc.Name] = svc
	}
	var build []*manifest.Service
	for _, op := range plan {
		if op.Action == StartService || op.Action == ReplaceService {
			build = append(build, byName[op.Service])
		}
	}
	s.toBuild(build) // at once: nobody is to think that what runs now is what was wanted
	for _, op := range plan {
		switch op.Action {
		case StopService:
			s.remove(op.Service)
		case ScaleService:
			s.scaleTo(byName[op.Service])
		case RestartService:
			_ = s.Restart(op.Service) // one that was removed meanwhile needs nothing
		case StartService, ReplaceService:
			s.put(byName[op.Service])
		}
	}
	s.builds.request(build, false)
	for _, svc := range services {
		s.adopt(svc)
	}
}

// adopt gives a service that the plan leaves alone what it waits for from now on.
func (s *Supervisor) adopt(svc *manifest.Service) {
	u, err := s.unit(svc.Name)
	if err != nil {
		return // not part of what runs
	}
	if was := u.manifest(); maps.Equal(was.DependsOn, svc.DependsOn) || SpecHash(was) != SpecHash(svc) {
		return
	}
	u.tell(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.service = svc
	})
}

func (s *Supervisor) requestBuild(services []*manifest.Service, hold bool) {
	s.toBuild(services)
	s.builds.request(services, hold)
}

func (s *Supervisor) toBuild(services []*manifest.Service) {
	for _, svc := range services {
		if svc.External() {
			continue
		}
		failed := false
		s.table.service(svc.Name, func(t *Service) { t.Building, failed = true, t.BuildError != "" })
		if failed {
			s.table.annotate(svc.Name, "the newest code is being built")
		}
	}
}

// tell makes a line part of a service's log, in mesh's own name.
func (s *Supervisor) tell(service, instance, text string) {
	log := s.logs.Writer(service, instance, logs.Build)
	defer log.Close()
	fmt.Fprintln(log, text)
}

// Progress says how far the build of a service is, for the views.
func (s *Supervisor) Progress(service, text string) {
	s.table.service(service, func(t *Service) {
		if t.Building {
			t.Progress = text
		}
	})
}

// put makes a unit for the service, or gives the one there is a new manifest. How many
// replicas a person has set stays while the manifest says nothing new of it.
func (s *Supervisor) put(svc *manifest.Service) {
	s.mu.Lock()
	u := s.units[svc.Name]
	fresh := u == nil
	if fresh {
		u = newUnit(s, svc)
		s.units[svc.Name] = u
	}
	replicas := svc.Instances()
	if !fresh && replicas == u.manifest().Instances() {
		replicas = u.observed.Replicas
	}
	u.observed = ObservedService{Spec: SpecHash(svc), External: svc.External(), Replicas: replicas}
	s.mu.Unlock()
	s.table.service(svc.Name, func(t *Service) {
		t.Kind, t.Replicas = string(svc.Kind), replicas
	})
	switch {
	case !fresh:
		u.tell(func() { u.respecify(svc, replicas); u.begun.Store(false) })
	default:
		u.placeholders(Pending, "")
	}
	if fresh {
		s.mu.Lock()
		s.fresh = append(s.fresh, u)
		s.mu.Unlock()
	}
	select {
	case s.wake <- struct{}{}:
	default: // Run is awake already
	}
}

func (s *Supervisor) remove(name string) {
	s.mu.Lock()
	u := s.units[name]
	delete(s.units, name)
	s.mu.Unlock()
	if u != nil {
		u.tell(func() { u.removed = true; u.stop() })
	}
}

// clear drops what the table says of a service that is gone, rows of instances that
// never were included; not where another of its name has come.
func (s *Supervisor) clear(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.units[name] != nil {
		return
	}
	for _, i := range s.table.of(name) {
		s.table.remove(name, i.Instance)
	}
	s.table.removeService(name)
}

func (s *Supervisor) scaleTo(svc *manifest.Service) { _ = s.Scale(svc.Name, svc.Instances()) }

// built hands a finished build to its service. What was built from a manifest that is
// not the newest any more is dropped: that one's build is on its way.
func (s *Supervisor) built(from *manifest.Service, a Artifact, err error) {
	u, e := s.unit(from.Name)
	if e != nil {
		return // removed meanwhile
	}
	u.tell(func() {
		if u.service == from || SpecHash(u.service) == SpecHash(from) {
			u.accept(a, err)
		}
	})
}

func (s *Supervisor) unit(name string) (*unit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.units[name]; u != nil {
		return u, nil
	}
	return nil, &manifest.UnknownService{Name: name, Known: slices.Sorted(maps.Keys(s.units))}
}

func (s *Supervisor) each(names []string, do func(*unit)) error {
	units := map[string]*unit{}
	var services []*manifest.Service
	for _, name := range names {
		u, err := s.unit(name)
		if err != nil {
			return err
		}
		units[name] = u
		services = append(services, u.manifest())
	}
	for _, svc := range inOrder(services) { // so that what one waits for has been told
		do(units[svc.Name])
	}
	return nil
}

// Start starts services that were stopped or have failed. Like the commands
// below it returns once the service has been told; the error is for a name that
// is not known, and then nothing was told.
func (s *Supervisor) Start(names ...string) error {
	return s.each(names, func(u *unit) { s.some(u); s.again(u, u.idle) })
}

// Stop stops services; they stay stopped until Start.
func (s *Supervisor) Stop(names ...string) error {
	return s.each(names, func(u *unit) { u.tell(u.stop) })
}

// Restart replaces every instance by a new one of the same code. A task is run once
// more, from the newest code: saves do not build it.
func (s *Supervisor) Restart(names ...string) error {
	return s.each(names, func(u *unit) { s.some(u); s.again(u, func() bool { return true }) })
}

// some gives a service that was scaled to 0 as many instances as its manifest says, or
// one: it is to run.
func (s *Supervisor) some(u *unit) {
	if now, _ := s.Look(u.name).Service(u.name); now.Replicas == 0 {
		_ = s.Scale(u.name, max(u.manifest().Instances(), 1)) // both are numbers that it takes
	}
}

// again starts a service anew where due says so, on the unit's goroutine.
func (s *Supervisor) again(u *unit, due func() bool) {
	if u.manifest().Kind != manifest.KindTask {
		u.tell(func() {
			if due() {
				u.restart()
			}
		})
		s.retryBuild(u)
		return
	}
	run := false
	u.tell(func() {
		if run = due(); run {
			u.rerun()
		}
	})
	if run {
		s.requestBuild([]*manifest.Service{u.manifest()}, false)
	}
}

// retryBuild builds what could not be built: an image may be there now.
func (s *Supervisor) retryBuild(u *unit) {
	if now, _ := s.table.snapshot().Service(u.name); now.BuildError != "" {
		s.table.service(u.name, func(t *Service) { t.Building, t.BuildError = true, "" })
		u.tell(func() { u.buildErr = nil })
		s.requestBuild([]*manifest.Service{u.manifest()}, false)
	}
}

// Rebuild builds services and swaps in what changed.
func (s *Supervisor) Rebuild(names ...string) error { return s.rebuild(names, false) }

// Prepare builds services and keeps what changed for Settled: whoever saves may
// not be done.
func (s *Supervisor) Prepare(names ...string) error { return s.rebuild(names, true) }

// Settled swaps in what Prepare built, or still builds.
func (s *Supervisor) Settled() { s.builds.release() }

func (s *Supervisor) rebuild(names []string, hold bool) error {
	var services []*manifest.Service
	err := s.each(names, func(u *unit) { services = append(services, u.manifest()) })
	if err == nil {
		s.requestBuild(services, hold)
	}
	return err
}

// Begun reports that something of a service was started since its manifest was last
// put into effect.
func (s *Supervisor) Begun(name string) bool {
	u, err := s.unit(name)
	return err == nil && u.begun.Load()
}

// Scale sets the number of instances.
func (s *Supervisor) Scale(name string, replicas int) error {
	u, err := s.unit(name)
	if err != nil {
		return err
	}
	switch m := u.manifest(); {
	case m.External():
		return fmt.Errorf("scale %s: mesh does not run it, it runs at %s", name, m.URL)
	case m.Kind == manifest.KindTask && replicas > 1:
		return fmt.Errorf("scale %s: a task runs once at a time; mesh run %s runs it again", name, name)
	}
	if replicas < 0 || replicas > 100 {
		return fmt.Errorf("scale %s to %d: it takes 0 to 100", name, replicas)
	}
	s.mu.Lock()
	u.observed.Replicas = replicas
	s.mu.Unlock()
	u.tell(func() { u.scale(replicas) })
	return nil
}

// Snapshot is the state of everything now.
func (s *Supervisor) Snapshot() Snapshot { return s.table.snapshot() }

// Look is the state of one service.
func (s *Supervisor) Look(service string) Snapshot { return s.table.only(service) }

// Watch calls see with the state now and again after each change, until see
// reports that it is done (nil) or ctx ends (its error). The snapshot is good
// until see returns.
func (s *Supervisor) Watch(ctx context.Context, see func(Snapshot) (done bool)) error {
	now, events := s.Subscribe()
	defer func() { events.Close() }()
	for !see(now) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-events.C():
			now.Apply(e)
		}
		if events.Missed() > 0 {
			events.Close()
			now, events = s.Subscribe()
		}
	}
	return nil
}

// Subscribe returns a snapshot and the events from then on. Close the
// subscription after use; one that has missed events needs a new snapshot.
func (s *Supervisor) Subscribe() (now Snapshot, events *broadcast.Subscription[Event]) {
	events = s.table.topic.Subscribe(eventQueue, func() { now = s.table.look() })
	return now, events
}

// stopAll stops every service, dependents first, and waits, until ctx ends.
func (s *Supervisor) stopAll(ctx context.Context) {
	s.mu.Lock()
	units := maps.Clone(s.units)
	for _, u := range s.fresh {
		delete(units, u.name) // never launched
	}
	s.mu.Unlock()
	stopped := map[string]chan struct{}{}
	dependents := map[string][]string{}
	for name, u := range units {
		stopped[name] = make(chan struct{})
		for dep := range u.manifest().DependsOn {
			dependents[dep] = append(dependents[dep], name)
		}
	}
	var wg sync.WaitGroup
	for name, u := range units {
		wg.Go(func() {
			defer close(stopped[name])
			for _, dependent := range dependents[name] {
				<-stopped[dependent]
			}
			u.shutdown(ctx)
		})
	}
	wg.Wait()
}
