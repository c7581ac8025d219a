package devregistry

import "context"

// What a blocking query can watch. A query wakes for changes of its topic, and
// sleeps through those of others.
const (
	theNode     = "node"     // which never changes
	allServices = "services" // which instances there are, and what they say of themselves
	allChecks   = "checks"   // every check and its status
	ofService   = "service/" // before a name: the instances of one service with their checks
)

// topics remembers when each last changed, and wakes those who wait for it. It is
// guarded by Registry.mu.
type topics struct {
	index   uint64             // of the last change
	last    map[string]uint64  // topic to the index of its last change; services while they have instances
	words   map[string]uint64  // topic to how often its words changed at that index; missing: never
	gone    uint64             // the last time that a service lost its last instance
	waiting map[string]*signal // topic to those who wait; gone when nobody does
}

type signal struct {
	fired   chan struct{} // closed by the next change
	waiters int
}

func newTopics(index uint64) topics {
	return topics{index: index, waiting: map[string]*signal{}, words: map[string]uint64{},
		last: map[string]uint64{theNode: 1, allServices: index, allChecks: index}}
}

// at is the index of the last change of a topic. For a service that has no
// instances it is that of the last disappearance of any, as in Consul: the
// registry remembers no names that are gone.
func (t *topics) at(topic string) uint64 {
	if index, ok := t.last[topic]; ok {
		return index
	}
	return max(t.gone, 1)
}

// edition is what an answer about a topic is made from: two with the same say the
// same.
type edition struct{ index, words uint64 }

func (t *topics) edition(topic string) edition { return edition{t.at(topic), t.words[topic]} }

// reword notes that a topic says something else that nobody is woken for.
func (t *topics) reword(topic string) { t.words[topic]++ }

// touch gives topics the index of the present change and wakes those who wait.
func (t *topics) touch(names ...string) {
	for _, topic := range names {
		t.last[topic] = t.index
		delete(t.words, topic)
		t.fire(topic)
	}
}

// forget drops a service without instances.
func (t *topics) forget(topic string) {
	t.gone = t.index
	delete(t.last, topic)
	delete(t.words, topic)
	t.fire(topic)
}

func (t *topics) fire(topic string) {
	if s, ok := t.waiting[topic]; ok {
		close(s.fired)
		delete(t.waiting, topic)
	}
}

func (t *topics) join(topic string) *signal {
	s, ok := t.waiting[topic]
	if !ok {
		s = &signal{fired: make(chan struct{})}
		t.waiting[topic] = s
	}
	s.waiters++
	return s
}

func (t *topics) leave(topic string, s *signal) {
	if s.waiters--; s.waiters == 0 && t.waiting[topic] == s {
		delete(t.waiting, topic)
	}
}

// wait returns once a topic has changed since seen, or ctx ends. An index of the
// future is one of another registry: its holder is answered at once, and begins
// anew.
func (r *Registry) wait(ctx context.Context, topic string, seen uint64) {
	for ctx.Err() == nil {
		r.mu.Lock()
		if index := r.topics.at(topic); seen == 0 || index > seen || seen > r.topics.index {
			r.mu.Unlock()
			return
		}
		s := r.topics.join(topic)
		r.mu.Unlock()
		select {
		case <-s.fired:
		case <-ctx.Done():
		}
		r.mu.Lock()
		r.topics.leave(topic, s)
		r.mu.Unlock()
	}
}
