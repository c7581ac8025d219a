// Package kv is Consul's key/value store with its sessions: ordered keys,
// check-and-set, locks that sessions hold, transactions, and watches on keys and
// prefixes.
//
// Sources: https://developer.hashicorp.com/consul/api-docs/kv,
// https://developer.hashicorp.com/consul/api-docs/session,
// https://developer.hashicorp.com/consul/api-docs/txn.
package kv

import (
	"log/slog"
	"strings"
	"sync"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Bounds of what a store holds. A write beyond them fails with [ErrFull].
const (
	MaxValue = 512 << 10 // bytes of one value, as in Consul

	maxBytes    = 64 << 20 // of all keys and values together
	maxKeys     = 100_000
	maxSessions = 10_000
	maxGraves   = 10_000 // deletions remembered one by one; see Store.floor
)

// Entry is one key. Its JSON is Consul's.
type Entry struct {
	LockIndex   uint64 // how often the key has been locked
	Key         string
	Flags       uint64
	Value       []byte // base64 in JSON; null when empty
	Session     string `json:",omitempty"` // that holds the lock
	CreateIndex uint64
	ModifyIndex uint64
}

// orNull is a value that JSON tells as null when it is empty, as Consul does.
func orNull(value []byte) []byte {
	if len(value) == 0 {
		return nil
	}
	return value
}

func (e *Entry) weight() int { return len(e.Key) + len(e.Value) }

// Store holds entries and sessions. Its methods may be called from many
// goroutines at once. Entries that it returns are shared and must not be changed.
type Store struct {
	file  string // "": nothing is kept
	log   *slog.Logger
	epoch time.Time     // deadlines are durations since epoch, by the monotonic clock
	kick  chan struct{} // a deadline was set or something is to be saved. Bound 1: one look is enough for many

	mu       sync.RWMutex
	index    uint64                   // of the last change
	entries  *iradix.Tree[*Entry]     // by key
	graves   *iradix.Tree[uint64]     // deleted keys to the index of their deletion
	floor    uint64                   // the newest deletion that graves forgot: no index is below it
	bytes    int                      // weight of all entries
	sessions map[string]*Session      // by ID
	touched  map[string]uint64        // session ID, or "" for any, to the index of its last change
	changed  chan struct{}            // closed and replaced when a session comes or goes
	delays   map[string]time.Duration // keys that may not be locked before that time since epoch
	saved    *iradix.Tree[*Entry]     // what the file has; Run's own
	failed   error                    // why it has not all
}

// Open returns the store that the file holds; one that does not exist is an
// empty store. Without a name nothing is kept.
//
// The first index is the time in milliseconds, or what the file has if that is
// later, so that the indexes of an earlier run stay in the past. What goes wrong
// while it runs goes to log.
func Open(file string, log *slog.Logger) (*Store, error) {
	now := time.Now()
	s := &Store{
		file: file, log: log, epoch: now, kick: make(chan struct{}, 1), index: uint64(now.UnixMilli()),
		entries: iradix.New[*Entry](), graves: iradix.New[uint64](),
		sessions: map[string]*Session{}, touched: map[string]uint64{},
		changed: make(chan struct{}), delays: map[string]time.Duration{},
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.floor, s.saved, s.touched[""] = s.index, s.entries, s.index
	return s, nil
}

// Get returns the entry of a key, or nil; the index at which that became so; and
// a channel that is closed when it may no longer be.
func (s *Store) Get(key string) (*Entry, uint64, <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	changed, entry, found := s.entries.Root().GetWatch([]byte(key))
	if found {
		return entry, entry.ModifyIndex, changed
	}
	if grave, ok := s.graves.Get([]byte(key)); ok {
		return nil, grave, changed
	}
	return nil, s.floor, changed
}

// List returns the entries whose keys begin with prefix, in order, and what Get
// returns with one.
func (s *Store) List(prefix string) ([]*Entry, uint64, <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var entries []*Entry
	index := s.floor
	below := s.entries.Root().Iterator()
	changed := below.SeekPrefixWatch([]byte(prefix))
	for _, e, ok := below.Next(); ok; _, e, ok = below.Next() {
		entries, index = append(entries, e), max(index, e.ModifyIndex)
	}
	s.graves.Root().WalkPrefix([]byte(prefix), func(_ []byte, grave uint64) bool {
		index = max(index, grave)
		return false
	})
	return entries, index, changed
}

// Keys names what lies below prefix: whole keys, or with a separator the keys up
// to and with the first separator after the prefix, each once.
func Keys(entries []*Entry, prefix, separator string) []string {
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key := e.Key
		if separator != "" {
			if at := strings.Index(key[len(prefix):], separator); at >= 0 {
				key = key[:len(prefix)+at+len(separator)]
			}
		}
		if len(keys) == 0 || keys[len(keys)-1] != key {
			keys = append(keys, key)
		}
	}
	return keys
}

func (s *Store) now() time.Duration { return time.Since(s.epoch) }

// lookAgain makes Run look at what is due.
func (s *Store) lookAgain() {
	select {
	case s.kick <- struct{}{}:
	default: // it has yet to look
	}
}
