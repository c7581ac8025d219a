package runtime

import (
	"cmp"
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
	topic     broadcast.Topic[Event]
	services  map[string]Service // guarded by topic
	instances map[string]Instance
}

func newTable() *table {
	return &table{services: map[string]Service{}, instances: map[string]Instance{}}
}

func (t *table) set(i Instance) {
	t.topic.Update(func() (Event, bool) {
		if old, ok := t.instances[i.Instance]; ok && equal(old, i) {
			return Event{}, false
		}
		t.instances[i.Instance] = i
		return Event{Time: time.Now(), Instance: &i}, true
	})
}

func equal(a, b Instance) bool {
	sameExit := (a.ExitCode == nil) == (b.ExitCode == nil) && (a.ExitCode == nil || *a.ExitCode == *b.ExitCode)
	sameStart := (a.StartedAt == nil) == (b.StartedAt == nil) && (a.StartedAt == nil || a.StartedAt.Equal(*b.StartedAt))
	a.ExitCode, b.ExitCode, a.StartedAt, b.StartedAt = nil, nil, nil, nil
	return sameExit && sameStart && a == b
}

func (t *table) remove(id string) {
	t.topic.Update(func() (Event, bool) {
		i, ok := t.instances[id]
		delete(t.instances, id)
		return Event{Time: time.Now(), Instance: &i, Removed: true}, ok
	})
}

// service changes what is known of a service.
func (t *table) service(name string, change func(*Service)) {
	t.topic.Update(func() (Event, bool) {
		s := t.services[name]
		s.Name = name
		old := s
		change(&s)
		t.services[name] = s
		return Event{Time: time.Now(), Service: &s}, s != old || old.Kind == ""
	})
}

func (t *table) removeService(name string) {
	t.topic.Update(func() (Event, bool) {
		s, ok := t.services[name]
		delete(t.services, name)
		return Event{Time: time.Now(), Service: &s, Removed: true}, ok
	})
}

// annotate sets the reason of a service's running instances.
func (t *table) annotate(service, reason string) {
	for _, i := range t.snapshot().Of(service) {
		if i.State.Running() && i.State != Stopping && i.Reason != reason {
			i.Reason = reason
			t.set(i)
		}
	}
}

// look copies everything; the topic is held.
func (t *table) look() Snapshot {
	return Snapshot{
		Services:  slices.SortedFunc(maps.Values(t.services), func(a, b Service) int { return cmp.Compare(a.Name, b.Name) }),
		Instances: slices.SortedFunc(maps.Values(t.instances), compareInstances),
	}
}

func (t *table) snapshot() Snapshot {
	var s Snapshot
	t.topic.Update(func() (Event, bool) { s = t.look(); return Event{}, false })
	return s
}

// watch calls see with a snapshot now and again after each change, in order,
// until see reports that it is done or ctx ends.
func (t *table) watch(ctx context.Context, see func(Snapshot) (done bool)) error {
	var now Snapshot
	sub := t.topic.Subscribe(eventQueue, func() { now = t.look() })
	defer sub.Close()
	for !see(now) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-sub.C():
			now = now.Apply(e)
			if sub.Missed() > 0 {
				now = t.snapshot()
			}
		}
	}
	return nil
}
