package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// swapPatience is how long a new version may take to become healthy before the
// old one is kept instead.
const swapPatience = time.Minute

// unit owns one service: what is wanted of it, and its instances. Its goroutine
// carries out what is wanted; a command interrupts that, changes what is
// wanted, and it begins anew.
type unit struct {
	sup      *Supervisor
	name     string
	observed ObservedService // guarded by sup.mu
	commands chan func()     // run by the goroutine; unbuffered
	ended    chan struct{}   // closed when the goroutine has ended
	begun    atomic.Bool     // something of this manifest was started

	mu      sync.Mutex // guards service for readers outside
	service *manifest.Service

	// What is wanted; changed by commands alone.
	spec     string
	replicas int
	stopped  bool
	rested   bool // it was stopped, and has not begun anew
	quiet    bool // mesh ends: nothing is drained
	removed  bool
	restarts int
	artifact *Artifact
	buildErr error
	rejected generation // one that did not become healthy
	refusal  string     // why it did not

	// What there is; changed by reconcile alone.
	instances map[int]*instance
}

func newUnit(sup *Supervisor, s *manifest.Service) *unit {
	return &unit{sup: sup, name: s.Name, service: s, spec: SpecHash(s), replicas: s.Instances(), artifact: ready(s),
		commands: make(chan func()), ended: make(chan struct{}), instances: map[int]*instance{}}
}

// ready is the artifact of what needs no build; nil for what does.
func ready(s *manifest.Service) *Artifact {
	if s.External() {
		return &Artifact{}
	}
	return nil
}

func (u *unit) manifest() *manifest.Service {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.service
}

// tell runs a command on the unit's goroutine and returns when it has run; until
// it is carried out the service is changing. After the goroutine has ended
// nothing happens.
func (u *unit) tell(command func()) {
	ran := make(chan struct{})
	select {
	case u.commands <- func() { u.changing(true); command(); close(ran) }:
		<-ran
	case <-u.ended:
	}
}

func (u *unit) changing(is bool) {
	u.sup.table.service(u.name, func(s *Service) { s.Changing = is })
}

// run is the unit's goroutine.
func (u *unit) run(ctx context.Context) {
	defer close(u.ended)
	var instances sync.WaitGroup
	defer instances.Wait()
	for !u.gone() {
		work, interrupt := context.WithCancel(ctx)
		settled := make(chan struct{})
		go func() {
			defer close(settled)
			u.reconcile(work, ctx, &instances)
			if work.Err() == nil {
				u.changing(false)
			}
		}()
		u.await(ctx, settled, interrupt)
		if ctx.Err() != nil {
			return
		}
	}
	u.sup.clear(u.name)
}

// await returns after a command has run, or, for a unit that is to go, when its
// work is done. The work has ended then.
func (u *unit) await(ctx context.Context, settled chan struct{}, interrupt func()) {
	idle := settled
	for {
		select {
		case command := <-u.commands:
			interrupt()
			<-settled
			command()
			return
		case <-idle:
			if u.gone() {
				interrupt()
				return
			}
			idle = nil
		case <-ctx.Done():
			interrupt()
			<-settled
			return
		}
	}
}

// gone reports that the unit was removed and has nothing left.
func (u *unit) gone() bool { return u.removed && len(u.instances) == 0 }

// Commands.

// idle reports that nothing runs that was not meant to end.
func (u *unit) idle() bool { return u.stopped || u.anyFailed() }

func (u *unit) stop() {
	u.stopped = true
	u.sup.table.service(u.name, func(s *Service) { s.Stopped = true })
}

func (u *unit) anyFailed() bool {
	return slices.ContainsFunc(u.sup.table.of(u.name), func(i Instance) bool { return i.State.Final() })
}

func (u *unit) restart() {
	u.rested = u.rested || u.stopped
	u.stopped, u.rejected = false, generation{}
	u.restarts++
	u.sup.table.service(u.name, func(s *Service) { s.Stopped, s.Rejected = false, "" })
}

// rerun has a task run once more when it is built.
func (u *unit) rerun() {
	u.respecify(u.service, u.replicas)
	u.restart()
	u.sup.table.service(u.name, func(s *Service) { s.Building, s.BuildError = true, "" })
	if u.live() == 0 {
		u.placeholders(Building, "") // at once: the run before is not to be taken for this one
	}
}

func (u *unit) task() bool { return u.service.Kind == manifest.KindTask }

func (u *unit) scale(replicas int) {
	u.replicas = replicas
	u.sup.table.service(u.name, func(s *Service) { s.Replicas = replicas })
}

// respecify gives the unit another manifest, or has it replaced from the same one. What
// was built for the one before is of no use: its command, too, came from there.
func (u *unit) respecify(s *manifest.Service, replicas int) {
	u.artifact, u.buildErr = ready(s), nil
	u.restarts++
	u.mu.Lock()
	u.service = s
	u.mu.Unlock()
	u.spec, u.rejected = SpecHash(s), generation{}
	u.sup.table.service(u.name, func(s *Service) { s.Rejected = "" })
	u.scale(replicas)
}

// accept takes the result of a build. One that failed changes nothing but the
// message.
func (u *unit) accept(a Artifact, err error) {
	if u.buildErr != nil && err == nil {
		u.sup.tell(u.name, u.name, "it builds again: "+a.Version) // who reads on after an error is to see its end, too
	}
	u.buildErr = err
	if err == nil {
		if u.artifact == nil || u.artifact.identity() != a.identity() {
			u.rejected = generation{}
		}
		u.artifact = &a
	}
	u.sup.table.service(u.name, func(s *Service) {
		s.Building, s.BuildError, s.Progress, s.Rejected = false, "", "", ""
		if err != nil {
			s.BuildError = err.Error()
			return
		}
		s.Version, s.Rejected = a.Version, u.rejection()
	})
	u.sup.table.annotate(u.name, u.outdated())
}

// outdated says why the newest version does not serve; "" when it does, or may yet.
func (u *unit) outdated() string {
	if u.buildErr != nil {
		return "the newest code does not build: " + firstSentence(u.buildErr.Error())
	}
	if why := u.rejection(); why != "" {
		return "the new version did not become healthy, this one serves on: " + why
	}
	return ""
}

// rejection is why what is wanted did not become healthy; "" when it did, or may yet.
func (u *unit) rejection() string {
	if u.rejected != u.generation() {
		return ""
	}
	return u.refusal
}

// shutdown stops the service for good and returns when nothing of it runs, or
// ctx ends.
func (u *unit) shutdown(ctx context.Context) {
	u.tell(func() { u.stopped, u.quiet = true, true })
	_ = u.sup.table.await(ctx, []string{u.name}, func(s Snapshot) bool {
		return !slices.ContainsFunc(s.Instances, func(i Instance) bool { return i.State.Running() || i.State == Backoff })
	})
}

// reconcile drives what there is to what is wanted and returns when that is
// done, cannot be done, or work ends. Instances live on under ctx.
func (u *unit) reconcile(work, ctx context.Context, wg *sync.WaitGroup) {
	defer u.sweep()
	if u.stopped || u.replicas == 0 {
		u.stopEach(work, slices.Collect(maps.Values(u.instances)))
		u.sweep()
		if u.removed {
			u.forget()
		} else if len(u.instances) == 0 {
			u.placeholders(Exited, u.none())
		}
		return
	}
	if u.artifact == nil {
		if len(u.instances) == 0 || u.task() && u.live() == 0 { // else it still runs elsewhere
			u.unbuilt()
		}
		return
	}
	if u.begins() && !u.awaitDependencies(work) {
		return
	}
	u.rested = false
	if u.task() && !u.made() && u.building() {
		return // it runs once: from what is being saved
	}
	r := &roll{unit: u, ctx: ctx, wg: wg}
	r.roll(work)
}

// ScaledToNone is the reason of the row that stands for a service without instances.
const ScaledToNone = "scaled to 0"

// none is why nothing of the service runs.
func (u *unit) none() string {
	if u.stopped {
		return "stopped"
	}
	return ScaledToNone
}

// forget drops what is left of the instances of a removed service.
func (u *unit) forget() {
	for n, in := range u.instances {
		select {
		case <-in.done:
			u.drop(n)
		default:
		}
	}
	for _, i := range u.sup.table.of(u.name) {
		if !i.State.Running() {
			u.sup.table.remove(u.name, i.Instance)
		}
	}
}

// begins reports that the service is started for the first time, or anew after it was
// stopped; one that is replaced, or starts again by itself, waits for nothing.
func (u *unit) begins() bool {
	if u.service.External() {
		return false
	}
	for _, in := range u.instances {
		if !in.stopped() || !u.rested {
			return false // one that has not been told to stop yet is replaced
		}
	}
	return true
}

func (u *unit) unbuilt() {
	if u.buildErr != nil {
		u.placeholders(Failed, "does not build: "+u.buildErr.Error())
		return
	}
	u.placeholders(Building, "")
}

// placeholders are the rows of instances that do not exist yet.
func (u *unit) placeholders(state State, reason string) {
	s := u.manifest()
	for n := range max(u.replicas, 1) {
		u.sup.table.set(Instance{Service: u.name, Instance: u.id(n + 1), Kind: string(s.Kind), Driver: driverName(s), State: state, Reason: reason})
	}
}

func (u *unit) id(n int) string { return fmt.Sprintf("%s-%d", u.name, n) }

// awaitDependencies waits for depends_on; false when it was interrupted.
func (u *unit) awaitDependencies(work context.Context) bool {
	return nil == u.sup.table.await(work, slices.Collect(maps.Keys(u.service.DependsOn)), func(s Snapshot) bool {
		missing := unmet(u.service, s)
		if len(missing) == 0 {
			return true
		}
		u.placeholders(Pending, "waits for "+strings.Join(missing, ", "))
		return false
	})
}

// unmet are the dependencies that have not reached their condition, in words.
// One that is not part of this run, or was stopped by a person, is not waited for.
func unmet(s *manifest.Service, now Snapshot) []string {
	var missing []string
	for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
		condition := s.DependsOn[dep]
		service, known := now.Service(dep)
		if known && !service.Stopped && !Reached(service, now.Of(dep), condition) {
			missing = append(missing, dep+" to be "+string(condition)+troubled(now.Of(dep)))
		}
	}
	return missing
}

func troubled(instances []Instance) string {
	for _, i := range instances {
		if i.State == Failed || i.State == Backoff {
			return fmt.Sprintf(" (%s: %s)", i.State, firstSentence(i.Reason))
		}
	}
	return ""
}

func firstSentence(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Reached reports whether a service has reached a condition: healthy means all
// its replicas, and of a task that it is done.
func Reached(s Service, instances []Instance, condition manifest.Condition) bool {
	if s.Kind == string(manifest.KindTask) && condition != manifest.Started {
		return slices.ContainsFunc(instances, Instance.Completed)
	}
	count := 0
	for _, i := range instances {
		if i.State == Healthy || condition == manifest.Started && (i.State.Running() || i.Completed()) {
			count++
		}
	}
	if condition == manifest.Started {
		return count > 0
	}
	return count >= s.Replicas
}

// sweep removes instances that have ended and are not what is wanted any more.
// Those that ended as wanted stay, so that it can be seen how.
func (u *unit) sweep() {
	for n, in := range u.instances {
		select {
		case <-in.done:
			old := u.artifact != nil && in.gen != u.generation() || u.live() >= u.replicas || in.stopped()
			if u.removed || old && !u.stopped {
				u.drop(n)
			}
		default:
		}
	}
}

// drop forgets an instance that has ended.
func (u *unit) drop(n int) {
	in := u.instances[n]
	delete(u.instances, n)
	u.sup.env.Release(in.id)
	u.sup.table.remove(u.name, in.id)
}

func (u *unit) live() int {
	n := 0
	for _, in := range u.instances {
		select {
		case <-in.done:
		default:
			n++
		}
	}
	return n
}

// generation is what is wanted. Newer code makes no other of a task, which is to run
// to its end: that is for the next time.
func (u *unit) generation() generation {
	g := generation{spec: u.spec, restart: u.restarts}
	if u.artifact != nil && !u.task() {
		g.artifact = u.artifact.identity()
	}
	return g
}

// made reports that an instance of what is wanted has been made.
func (u *unit) made() bool {
	for _, in := range u.instances {
		if in.gen == u.generation() {
			return true
		}
	}
	return false
}

func (u *unit) building() bool {
	now, _ := u.sup.table.only(u.name).Service(u.name)
	return now.Building
}

// stopEach stops instances at once and waits for all of them, or for work to
// end.
func (u *unit) stopEach(work context.Context, instances []*instance) {
	for _, in := range instances {
		in.stop(!u.quiet)
	}
	for _, in := range instances {
		select {
		case <-in.done:
		case <-work.Done():
			return
		}
	}
}
