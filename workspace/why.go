package workspace

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

// Explanation says why a service is in the state it is in.
type Explanation struct {
	Service string      `json:"service"`
	State   string      `json:"state"`             // of the instance that most needs explaining
	Serving []string    `json:"serving,omitempty"` // those that are healthy, where that one is not
	Causes  []string    `json:"causes"`            // from what is seen to what is behind it
	LastLog []logs.Line `json:"last_logs"`         // the last lines, of the newest start if that printed any
	Next    string      `json:"next"`              // what to do
}

// Explain explains the state of a service.
func (w *Workspace) Explain(service string) (Explanation, error) {
	m := w.Manifest()
	s, ok := m.Service(service)
	if !ok {
		return Explanation{}, &manifest.UnknownService{Name: service, Known: m.Names()}
	}
	now := w.supervisor.Snapshot()
	e := explain(s, now, m)
	e.silenced(w.endpoints.silent(service))
	e.LastLog = append(e.LastLog, w.lastLog(service, now)...)
	if state := runtime.State(e.State); len(e.LastLog) == 0 && (state == runtime.Failed || state == runtime.Backoff) {
		e.Next = "mend that, and then: mesh restart " + service // its log has nothing to add
	}
	if strings.Contains(strings.Join(e.Causes, "\n"), syscall.EMFILE.Error()) {
		e.Next = "raise the limit where mesh is started (ulimit -n 65536), and then: mesh down && mesh up"
	}
	return e, nil
}

// lastLog are the last lines of the newest start, if that printed any, or of the
// service. Where the newest version was rejected they are what that printed, whose
// instance is gone.
func (w *Workspace) lastLog(service string, now runtime.Snapshot) []logs.Line {
	const most = 10
	q := logs.Query{Services: []string{service}, Since: newestStart(now.Of(service))}
	if s, _ := now.Service(service); s.Rejected != "" {
		said := slices.DeleteFunc(w.logs.Recent(q), func(l logs.Line) bool {
			return l.Stream == logs.Build || slices.ContainsFunc(now.Of(service), func(i runtime.Instance) bool { return i.Instance == l.Instance })
		})
		if len(said) > 0 {
			return said[max(0, len(said)-most):]
		}
	}
	q.Last = most
	lines := w.logs.Recent(q)
	if len(lines) == 0 {
		q.Since = time.Time{}
		lines = w.logs.Recent(q)
	}
	return lines
}

// newestStart is when the newest instance began: what was printed before is of
// versions that are gone.
func newestStart(instances []runtime.Instance) (newest time.Time) {
	for _, i := range instances {
		if i.StartedAt != nil && i.StartedAt.After(newest) {
			newest = *i.StartedAt
		}
	}
	return newest
}

// explain is pure: it knows the manifest and what there is.
func explain(s *manifest.Service, now runtime.Snapshot, m *manifest.Workspace) Explanation {
	e := Explanation{Service: s.Name, Causes: []string{}, LastLog: []logs.Line{}}
	service, known := now.Service(s.Name)
	if !known {
		e.State, e.Next = "not running", "mesh up "+s.Name
		e.Causes = append(e.Causes, s.Name+" is not part of this run")
		return e
	}
	worst, found := worstOf(now.Of(s.Name))
	if !found || worst.Reason == runtime.ScaledToNone {
		e.State, e.Next = "scaled to 0", "mesh scale "+s.Name+"=1"
		return e
	}
	e.State = string(worst.State)
	for _, i := range now.Of(s.Name) {
		if i.State == runtime.Healthy && worst.State != runtime.Healthy {
			e.Serving = append(e.Serving, i.Instance)
		}
	}
	if service.BuildError != "" && !service.Building {
		e.build(s, service, worst)
		return e
	}
	e.instance(s, worst, now, m)
	if progress := service.BuildProgress(); progress != "" {
		e.Causes = append(e.Causes, progress)
	}
	return e
}

// worstOf is the instance that most needs explaining.
func worstOf(instances []runtime.Instance) (worst runtime.Instance, found bool) {
	order := []runtime.State{runtime.Failed, runtime.Backoff, runtime.Unhealthy, runtime.Pending, runtime.Building,
		runtime.Starting, runtime.Stopping, runtime.Exited, runtime.Healthy}
	if len(instances) == 0 {
		return worst, false
	}
	return slices.MinFunc(instances, func(a, b runtime.Instance) int {
		return slices.Index(order, a.State) - slices.Index(order, b.State)
	}), true
}

func (e *Explanation) build(s *manifest.Service, service runtime.Service, i runtime.Instance) {
	if i.State == runtime.Healthy {
		e.Causes = append(e.Causes, "the newest code does not build; the version before it serves on")
	} else {
		e.Causes = append(e.Causes, "it does not build")
	}
	e.Causes = append(e.Causes, strings.Split(strings.TrimSpace(service.BuildError), "\n")...)
	e.Next = "mend the code and save: mesh builds again by itself"
	if service.Kind == string(manifest.KindTask) {
		e.Next = "mend the code, then mesh run " + service.Name
	}
	if s.Image != "" {
		e.Next = "see to the image, then mesh up -d, or mesh restart " + s.Name
	}
	if strings.HasPrefix(service.BuildError, "go: no such program") {
		e.Next = "install Go from https://go.dev/dl, then mesh down and mesh up"
	}
}

func (e *Explanation) instance(s *manifest.Service, i runtime.Instance, now runtime.Snapshot, m *manifest.Workspace) {
	if i.Reason != "" {
		e.Causes = append(e.Causes, i.Instance+": "+i.Reason)
	}
	switch i.State {
	case runtime.Failed:
		e.exit(i)
		e.Next = "look at mesh logs " + s.Name + "; after the change: mesh restart " + s.Name
	case runtime.Backoff:
		e.exit(i)
		e.Next = "look at mesh logs " + s.Name + "; it is tried again by itself"
	case runtime.Unhealthy, runtime.Starting:
		e.probe(s, i)
	case runtime.Pending:
		e.waiting(s, now, m, map[string]bool{})
	case runtime.Building:
		e.Causes = append(e.Causes, "its first build is not done yet")
		e.Next = "wait; mesh logs " + s.Name + " -f shows the build"
	case runtime.Stopping:
		e.Causes = append(e.Causes, "it finishes what it works on, and then ends")
		e.Next = "wait; it is killed when its grace is over"
	case runtime.Exited:
		e.Next = "mesh start " + s.Name
		if s.Kind == manifest.KindTask && i.Completed() {
			e.Causes, e.Next = append(e.Causes, "the task has done its work"), "mesh run "+s.Name+" runs it again"
		}
	case runtime.Healthy:
		e.Causes = append(e.Causes, i.Instance+" "+wellBecause(s))
		if i.StartedAt != nil {
			e.Causes = append(e.Causes, "it runs since "+i.StartedAt.Format(time.TimeOnly))
		}
		if i.LastEnd != "" {
			e.Causes = append(e.Causes, fmt.Sprintf("it was started again %s; the last time it had ended by itself: %s", times(i.Restarts), i.LastEnd))
		}
		e.Next = "nothing to do"
		if i.Reason != "" {
			e.Next = "mend the code and save, or mesh restart " + s.Name + " to try it once more"
		}
	}
}

// wellBecause says what being healthy means for a service of its kind.
func wellBecause(s *manifest.Service) string {
	switch {
	case s.External():
		return "runs elsewhere, at " + s.URL + ", and answers"
	case s.Kind == manifest.KindWorker && s.Health == nil:
		return "is healthy: it has run for more than a second"
	case s.Kind == manifest.KindWorker:
		return "is healthy: its probe says so"
	}
	return takesTraffic
}

const takesTraffic = "is healthy and takes traffic"

// silenced says of healthy instances that checks in the registry keep them from
// requests, and which.
func (e *Explanation) silenced(silent map[string]string) {
	for _, id := range slices.Sorted(maps.Keys(silent)) {
		e.Causes = slices.DeleteFunc(e.Causes, func(cause string) bool { return cause == id+" "+takesTraffic })
		e.Causes = append(e.Causes, id+" is healthy and gets no requests: "+silent[id])
		e.Serving = slices.DeleteFunc(e.Serving, func(serving string) bool { return serving == id })
	}
	if len(silent) > 0 && e.State == string(runtime.Healthy) {
		e.Next = "have whoever set that in the registry end it: curl $CONSUL_HTTP_ADDR/v1/health/checks/" + e.Service + " shows the checks"
	}
}

// exit tells the exit code. A program that a signal ended has none: the reason names
// the signal, or the probe for which mesh sent it.
func (e *Explanation) exit(i runtime.Instance) {
	if i.ExitCode != nil && *i.ExitCode >= 0 {
		e.Causes = append(e.Causes, fmt.Sprintf("its last exit code was %d, after %d restarts", *i.ExitCode, i.Restarts))
	}
}

func (e *Explanation) probe(s *manifest.Service, i runtime.Instance) {
	switch {
	case s.External():
		e.Causes = append(e.Causes, "it runs elsewhere, at "+s.URL+", and is sent requests once it is well there")
		e.Next = "start it there; mesh env " + s.Name + " shows what it should be told"
	case s.Kind == manifest.KindTask:
		e.Causes = append(e.Causes, "the task is at work")
		e.Next = "wait; mesh logs -f " + s.Name + " shows how far it is"
	case s.Kind == manifest.KindWorker && s.Health == nil:
		e.Causes = append(e.Causes, "it is healthy when it has run for a second")
		if i.LastEnd != "" {
			e.Causes = append(e.Causes, "the last time it had ended by itself: "+i.LastEnd)
		}
		e.Next = "look at mesh logs " + s.Name
	case s.Health == nil:
		e.Causes = append(e.Causes, "nothing accepts connections at "+i.Address)
		e.Next = "does the program listen on ${HOST}:${PORT}, as it is told in its environment? mesh env " + s.Name
	case s.Health.HTTP != "":
		e.Causes = append(e.Causes, "mesh asks GET http://"+i.Address+s.Health.HTTP)
		e.Next = "curl -i http://" + i.Address + s.Health.HTTP
	default:
		e.Next = "look at mesh logs " + s.Name
	}
}

// waiting follows depends_on to what everything waits for.
func (e *Explanation) waiting(s *manifest.Service, now runtime.Snapshot, m *manifest.Workspace, seen map[string]bool) {
	for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
		other, ok := m.Service(dep)
		worst, found := worstOf(now.Of(dep))
		if !ok || !found || seen[dep] || worst.State == runtime.Healthy || worst.Completed() {
			continue
		}
		seen[dep] = true
		cause := fmt.Sprintf("%s is %s", dep, worst.State)
		if worst.Reason != "" {
			cause += ": " + worst.Reason
		}
		e.Causes = append(e.Causes, cause)
		if worst.State == runtime.Pending {
			e.waiting(other, now, m, seen)
			continue
		}
		e.Next = "mesh why " + dep
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
