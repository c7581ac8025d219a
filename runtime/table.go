package runtime

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ebef7166/mesh/internal/broadcast"
)

// eventQueue is how many events a subscriber may be behind before it misses
// some; it then takes a new snapshot.
const eventQueue = 1024

// table holds the copies that everybody else sees.
type table struct {
	topic broadcast.Topic[Event]

	// Guarded by topic.
	rows     map[string]*row // by service
	underWay int             // services that are
}

// row is one service and its instances.
type row struct {
	service   Service    // without a name: not told of
	instances []Instance // sorted
	waiters   []chan struct{}
}

func newTable() *table { return &table{rows: map[string]*row{}} }

// row returns the row of a service; the topic is held.
func (t *table) row(name string) *row {
	r := t.rows[name]
	if r == nil {
		r = &row{}
		t.rows[name] = r
	}
	return r
}

// change changes a row and wakes those who wait for it to, unless change reports
// that it changed nothing.
func (t *table) change(name string, change func(*row) (Event, bool)) {
	t.topic.Update(func() (Event, bool) {
		r := t.row(name)
		was := r.service.underWay()
		event, changed := change(r)
		event.Rest = t.comesToRest(was, r.service.underWay())
		if changed {
			r.wake()
		}
		t.drop(name, r)
		return event, changed
	})
}

// comesToRest counts a service that was and is under way, or not, and reports whether
// it is the last that is not any more; the topic is held.
func (t *table) comesToRest(was, is bool) bool {
	switch {
	case is && !was:
		t.underWay++
	case was && !is:
		t.underWay--
		return t.underWay == 0
	}
	return false
}

func (r *row) wake() {
	for _, waiter := range r.waiters {
		select {
		case waiter <- struct{}{}:
		default: // it has yet to look
		}
	}
}

// drop forgets a row that says nothing.
func (t *table) drop(name string, r *row) {
	if r.service.Name == "" && len(r.instances) == 0 && len(r.waiters) == 0 {
		delete(t.rows, name)
	}
}

func (t *table) set(i Instance) {
	t.change(i.Service, func(r *row) (Event, bool) {
		at, found := slices.BinarySearchFunc(r.instances, i, compareInstances)
		switch {
		case !found:
			r.instances = slices.Insert(r.instances, at, i)
		case equal(r.instances[at], i):
			return Event{}, false
		default:
			r.instances[at] = i
		}
		return Event{Time: time.Now(), Instance: &i}, true
	})
}

func equal(a, b Instance) bool {
	sameExit := (a.ExitCode == nil) == (b.ExitCode == nil) && (a.ExitCode == nil || *a.ExitCode == *b.ExitCode)
	sameStart := (a.StartedAt == nil) == (b.StartedAt == nil) && (a.StartedAt == nil || a.StartedAt.Equal(*b.StartedAt))
	a.ExitCode, b.ExitCode, a.StartedAt, b.StartedAt = nil, nil, nil, nil
	return sameExit && sameStart && a == b
}

func (t *table) remove(service, id string) {
	t.change(service, func(r *row) (Event, bool) {
		at := slices.IndexFunc(r.instances, func(i Instance) bool { return i.Instance == id })
		if at < 0 {
			return Event{}, false
		}
		gone := r.instances[at]
		r.instances = slices.Delete(r.instances, at, at+1)
		return Event{Time: time.Now(), Instance: &gone, Removed: true}, true
	})
}

// service changes what is known of a service.
func (t *table) service(name string, change func(*Service)) {
	t.change(name, func(r *row) (Event, bool) {
		s := r.service
		s.Name = name
		change(&s)
		changed := s != r.service
		r.service = s
		return Event{Time: time.Now(), Service: &s}, changed
	})
}

func (t *table) removeService(name string) {
	t.change(name, func(r *row) (Event, bool) {
		gone := r.service
		r.service = Service{}
		return Event{Time: time.Now(), Service: &gone, Removed: true}, gone.Name != ""
	})
}

// annotate sets the reason of a service's running instances.
func (t *table) annotate(service, reason string) {
	for _, i := range t.of(service) {
		if i.State.Running() && i.State != Stopping && i.Reason != reason {
			i.Reason = reason
			t.set(i)
		}
	}
}

// look copies everything; the topic is held.
func (t *table) look() Snapshot { return t.some(slices.Sorted(maps.Keys(t.rows))) }

// some copies the rows of services, whose names are sorted; the topic is held.
func (t *table) some(services []string) Snapshot {
	var s Snapshot
	for _, name := range services {
		r := t.rows[name]
		if r == nil {
			continue
		}
		if r.service.Name != "" {
			s.Services = append(s.Services, r.service)
		}
		s.Instances = append(s.Instances, r.instances...)
	}
	return s
}

func (t *table) snapshot() (s Snapshot) {
	t.topic.Hold(func() { s = t.look() })
	return s
}

// only copies the rows of services, whose names are sorted.
func (t *table) only(services ...string) (s Snapshot) {
	t.topic.Hold(func() { s = t.some(services) })
	return s
}

// of copies the instances of one service.
func (t *table) of(service string) []Instance { return t.only(service).Instances }

// await calls see with the state of services now and again after they have
// changed, until see reports that it is done or ctx ends. It may see several
// changes as one.
func (t *table) await(ctx context.Context, services []string, see func(Snapshot) (done bool)) error {
	services = slices.Sorted(slices.Values(services))
	changed := make(chan struct{}, 1)
	t.listen(services, changed)
	defer t.unlisten(services, changed)
	for {
		if see(t.only(services...)) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *table) listen(services []string, changed chan struct{}) {
	t.topic.Hold(func() {
		for _, name := range services {
			r := t.row(name)
			r.waiters = append(r.waiters, changed)
		}
	})
}

func (t *table) unlisten(services []string, changed chan struct{}) {
	t.topic.Hold(func() {
		for _, name := range services {
			r := t.row(name)
			r.waiters = slices.DeleteFunc(r.waiters, func(c chan struct{}) bool { return c == changed })
			t.drop(name, r)
		}
	})
}
