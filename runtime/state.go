// Package runtime plans and supervises: it builds services, starts their
// instances in order, probes, restarts, reloads and stops them. One goroutine
// owns each service and one each instance; everybody else sees copies.
package runtime

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// State of an instance.
type State string

// The states of the contract.
const (
	Pending   State = "pending"   // waits for what it depends on
	Building  State = "building"  // waits for its first build
	Starting  State = "starting"  // runs, has not been healthy yet
	Healthy   State = "healthy"   // takes traffic
	Unhealthy State = "unhealthy" // runs, takes no traffic
	Stopping  State = "stopping"  // drains or is asked to end
	Exited    State = "exited"    // has ended and is not started again
	Backoff   State = "backoff"   // has ended and is started again soon
	Failed    State = "failed"    // is not tried again until something changes
)

// Running reports whether the instance has a process.
func (s State) Running() bool {
	return s == Starting || s == Healthy || s == Unhealthy || s == Stopping
}

// Final reports whether nothing more happens by itself.
func (s State) Final() bool { return s == Exited || s == Failed }

// Instance is what is known of one instance, as `mesh ps -o json` prints it.
type Instance struct {
	Service     string     `json:"service"`
	Instance    string     `json:"instance"`
	Kind        string     `json:"kind"`
	Driver      string     `json:"driver"`
	State       State      `json:"state"`
	PID         int        `json:"pid"`
	ContainerID string     `json:"container_id"`
	Address     string     `json:"address"` // host:port, "" without a port
	Inner       string     `json:"-"`       // where a container itself listens, on its network
	URL         string     `json:"url"`
	Version     string     `json:"version"`
	Restarts    int        `json:"restarts"`
	ExitCode    *int       `json:"exit_code"` // of the last exit
	StartedAt   *time.Time `json:"started_at"`
	CPUPercent  float64    `json:"cpu_percent"`
	MemoryBytes int64      `json:"memory_bytes"`
	Reason      string     `json:"reason"`             // why it is in this state, in words
	LastEnd     string     `json:"last_end,omitempty"` // why and when it ended before its last restart, in words
}

// SameStart reports whether both are what one start has made. The time of day
// does not tell which of two starts is the later: it may have been set back.
func (i Instance) SameStart(other Instance) bool {
	return i.Instance == other.Instance && i.StartedAt != nil && other.StartedAt != nil && i.StartedAt.Equal(*other.StartedAt)
}

// Completed reports whether the instance of a task has done its work.
func (i Instance) Completed() bool {
	return i.State == Exited && i.ExitCode != nil && *i.ExitCode == 0
}

// Service is what is known of a service beside its instances.
type Service struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Replicas   int    `json:"replicas"`    // wanted
	Stopped    bool   `json:"stopped"`     // by the user
	Building   bool   `json:"building"`    // a build is under way
	Changing   bool   `json:"changing"`    // something was asked of it that is not carried out yet
	Progress   string `json:"progress"`    // of that build, in words
	BuildError string `json:"build_error"` // of the newest build; "" when it went well
	Version    string `json:"version"`     // of the newest build
	Rejected   string `json:"rejected"`    // why that one did not become healthy, and an older one serves on; "" otherwise
}

// underWay reports that the service is on its way to what was asked of it.
func (s Service) underWay() bool { return s.Building || s.Changing }

// BuildProgress is what the build under way is at, in words; "" when there is none.
func (s Service) BuildProgress() string {
	switch {
	case !s.Building:
		return ""
	case s.Progress == "":
		return "building"
	}
	return "building: " + s.Progress
}

// UnderWay names the services that are being built and are at the same as the
// first of them, since one build may be of several, and says what that is; ""
// when none is built.
func UnderWay(services []Service) (names []string, progress string) {
	for _, s := range services {
		at := s.BuildProgress()
		if progress == "" {
			progress = at
		}
		if at != "" && at == progress {
			names = append(names, s.Name)
		}
	}
	return names, progress
}

// Snapshot is the state of everything at one moment, both lists sorted by
// service.
type Snapshot struct {
	Services  []Service  `json:"services"`
	Instances []Instance `json:"instances"`
}

// Of returns the instances of one service: a part of Instances, not a copy.
func (s Snapshot) Of(service string) []Instance {
	begin, _ := slices.BinarySearchFunc(s.Instances, service, func(i Instance, name string) int { return cmp.Compare(i.Service, name) })
	own := countWhile(s.Instances[begin:], func(i Instance) bool { return i.Service == service })
	return s.Instances[begin : begin+own : begin+own]
}

// Service returns what is known of the service called name.
func (s Snapshot) Service(name string) (Service, bool) {
	i, found := slices.BinarySearchFunc(s.Services, name, compareName)
	if !found {
		return Service{}, false
	}
	return s.Services[i], true
}

// All are the services with their instances, which are a part of Instances.
func (s Snapshot) All() iter.Seq2[Service, []Instance] {
	return func(yield func(Service, []Instance) bool) {
		rest := s.Instances
		for _, svc := range s.Services {
			rest = rest[countWhile(rest, func(i Instance) bool { return i.Service < svc.Name }):]
			own := countWhile(rest, func(i Instance) bool { return i.Service == svc.Name })
			if !yield(svc, rest[:own:own]) {
				return
			}
		}
	}
}

// countWhile is the length of the prefix of list for which ok holds.
func countWhile[T any](list []T, ok func(T) bool) int {
	n := slices.IndexFunc(list, func(v T) bool { return !ok(v) })
	if n < 0 {
		return len(list)
	}
	return n
}

// Clone is a copy that Apply on the original does not change.
func (s Snapshot) Clone() Snapshot {
	return Snapshot{Services: slices.Clone(s.Services), Instances: slices.Clone(s.Instances)}
}

// Event is one change: of an instance, or of a service where Instance is nil.
type Event struct {
	Time     time.Time `json:"time"`
	Instance *Instance `json:"instance,omitempty"`
	Removed  bool      `json:"removed,omitempty"` // the instance is gone
	Service  *Service  `json:"service,omitempty"`
	Rest     bool      `json:"-"` // it ends the last build or change that was under way
}

// Row names what the event is about: of two events of a row the later one says
// all.
func (e Event) Row() string {
	switch {
	case e.Instance != nil:
		return e.Instance.Service + "/" + e.Instance.Instance
	case e.Service != nil:
		return e.Service.Name
	}
	return ""
}

// Apply makes s what it is after the event.
func (s *Snapshot) Apply(e Event) {
	switch {
	case e.Instance != nil:
		at, found := slices.BinarySearchFunc(s.Instances, *e.Instance, compareInstances)
		s.Instances = put(s.Instances, at, found, e.Removed, *e.Instance)
	case e.Service != nil:
		at, found := slices.BinarySearchFunc(s.Services, e.Service.Name, compareName)
		s.Services = put(s.Services, at, found, e.Removed, *e.Service)
	}
}

// put sets, inserts or removes the element that is found, or belongs, at an
// index.
func put[T any](list []T, at int, found, removed bool, v T) []T {
	switch {
	case found && removed:
		return slices.Delete(list, at, at+1)
	case found:
		list[at] = v
	case !removed:
		return slices.Insert(list, at, v)
	}
	return list
}

func compareName(s Service, name string) int { return cmp.Compare(s.Name, name) }

func compareInstances(a, b Instance) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(len(a.Instance), len(b.Instance)), cmp.Compare(a.Instance, b.Instance))
}
