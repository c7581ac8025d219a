package devidentity

import (
	"crypto/rand"
	"sync"
	"time"
)

// newID returns 128 random bits or more as text.
func newID() string { return rand.Text() }

// expiring is a map whose entries end after a fixed time. It is bounded: at
// the bound the oldest entry makes room, so that a flood costs no memory and
// at worst a sign-in page that was opened long ago.
type expiring[V any] struct {
	ttl   time.Duration
	bound int

	mu    sync.Mutex
	items map[string]entry[V]
	order []string // by age; the entries of one map all live equally long
}

type entry[V any] struct {
	value   V
	expires time.Time
}

func newExpiring[V any](ttl time.Duration, bound int) *expiring[V] {
	return &expiring[V]{ttl: ttl, bound: bound, items: make(map[string]entry[V])}
}

// put adds a value under a new random key, and returns the key.
func (e *expiring[V]) put(value V) string {
	key := newID()
	e.set(key, value)
	return key
}

func (e *expiring[V]) set(key string, value V) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prune()
	e.items[key] = entry[V]{value, time.Now().Add(e.ttl)}
	e.order = append(e.order, key)
}

// prune removes what ended, and the oldest when the map is full. Keys of
// entries that were deleted linger in order until their turn.
func (e *expiring[V]) prune() {
	now := time.Now()
	for len(e.order) > 0 {
		item, ok := e.items[e.order[0]]
		if ok && now.Before(item.expires) && len(e.order) < e.bound {
			return
		}
		delete(e.items, e.order[0])
		e.order = e.order[1:]
	}
}

func (e *expiring[V]) get(key string) (V, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	item, ok := e.items[key]
	if !ok || !time.Now().Before(item.expires) {
		var none V
		return none, false
	}
	return item.value, true
}

// take gets a value and removes it: of many who take it one gets it.
func (e *expiring[V]) take(key string) (V, bool) {
	value, ok := e.get(key)
	if ok {
		ok = e.remove(key)
	}
	return value, ok
}

func (e *expiring[V]) remove(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.items[key]
	delete(e.items, key)
	return ok
}
