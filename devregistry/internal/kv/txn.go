package kv

import (
	"errors"
	"fmt"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Verb says what an operation does. The names are those of Consul's
// transactions.
type Verb string

// What an operation can do.
const (
	Set            Verb = "set"
	CAS            Verb = "cas"
	Lock           Verb = "lock"
	Unlock         Verb = "unlock"
	Get            Verb = "get"
	GetOrEmpty     Verb = "get-or-empty"
	GetTree        Verb = "get-tree"
	CheckIndex     Verb = "check-index"
	CheckSession   Verb = "check-session"
	CheckNotExists Verb = "check-not-exists"
	Delete         Verb = "delete"
	DeleteTree     Verb = "delete-tree"
	DeleteCAS      Verb = "delete-cas"
)

// Op is one operation. Its JSON is that of an operation in Consul's
// transactions.
type Op struct {
	Verb    Verb
	Key     string // for the verbs with tree: a prefix
	Value   []byte // base64 in JSON
	Flags   uint64
	Index   uint64 // for cas, delete-cas, check-index
	Session string // for lock, unlock, check-session
}

var (
	// ErrRefused is why an operation did nothing though nothing is wrong with
	// it: an old index, a lock that another holds.
	ErrRefused = errors.New("refused")
	// ErrSession is a session that does not exist.
	ErrSession = errors.New("invalid session")
	// ErrFull is a write beyond the bounds of the store.
	ErrFull = errors.New("the key/value store is full")
)

// OpError is why one operation of a transaction failed.
type OpError struct {
	OpIndex int
	What    string
	Err     error `json:"-"`
}

// Apply does all operations or, when one fails, none. It returns what they read
// and wrote, in order; of what they wrote, without the values.
func (s *Store) Apply(ops ...Op) ([]*Entry, []OpError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.begin()
	var results []*Entry
	var failed []OpError
	for i, op := range ops {
		entries, err := t.do(op)
		if err != nil {
			failed = append(failed, OpError{OpIndex: i, What: err.Error(), Err: err})
			continue
		}
		results = append(results, entries...)
	}
	if len(failed) > 0 {
		return nil, failed
	}
	t.commit()
	return results, nil
}

// txn is a change under way; the store's lock is held for writing.
type txn struct {
	store   *Store
	index   uint64 // that its changes get
	entries *iradix.Txn[*Entry]
	graves  *iradix.Txn[uint64]
	bytes   int
	keys    int
	changed bool
}

func (s *Store) begin() *txn {
	t := &txn{store: s, index: s.index + 1, entries: s.entries.Txn(), graves: s.graves.Txn(), bytes: s.bytes, keys: s.entries.Len()}
	t.entries.TrackMutate(true) // so that commit wakes those who watch what changed, and nobody else
	return t
}

func (t *txn) commit() {
	if !t.changed {
		return
	}
	s := t.store
	s.index, s.bytes, s.graves = t.index, t.bytes, t.graves.Commit()
	if s.graves.Len() > maxGraves {
		s.graves, s.floor = iradix.New[uint64](), s.index
	}
	s.entries = t.entries.Commit()
	s.lookAgain()
}

func (t *txn) do(op Op) ([]*Entry, error) {
	switch op.Verb {
	case Set:
		return t.set(op)
	case CAS:
		return t.cas(op)
	case Lock:
		return t.lock(op)
	case Unlock:
		return t.unlock(op)
	case Delete:
		t.delete(op.Key)
		return nil, nil
	case DeleteCAS:
		return nil, t.deleteCAS(op)
	case DeleteTree:
		for _, e := range t.tree(op.Key) {
			t.delete(e.Key)
		}
		return nil, nil
	}
	return t.look(op)
}

// look does the operations that change nothing.
func (t *txn) look(op Op) ([]*Entry, error) {
	e := t.get(op.Key)
	switch {
	case op.Verb == GetTree:
		return t.tree(op.Key), nil
	case op.Verb == Get && e == nil:
		return nil, refuse("key %q doesn't exist", op.Key)
	case op.Verb == GetOrEmpty && e == nil:
		return []*Entry{{Key: op.Key}}, nil
	case op.Verb == Get || op.Verb == GetOrEmpty:
		return []*Entry{e}, nil
	case op.Verb == CheckNotExists && e != nil:
		return nil, refuse("key %q exists", op.Key)
	case op.Verb == CheckNotExists:
		return nil, nil
	}
	return t.check(op, e)
}

func (t *txn) check(op Op, e *Entry) ([]*Entry, error) {
	switch {
	case op.Verb != CheckIndex && op.Verb != CheckSession:
		return nil, fmt.Errorf("unknown KV verb %q", op.Verb)
	case e == nil:
		return nil, refuse("failed %s, key %q doesn't exist", op.Verb, op.Key)
	case op.Verb == CheckIndex && e.ModifyIndex != op.Index:
		return nil, refuse("failed index check for key %q, current modify index %d != %d", op.Key, e.ModifyIndex, op.Index)
	case op.Verb == CheckSession && e.Session != op.Session:
		return nil, refuse("failed session check for key %q, current session %q != %q", op.Key, e.Session, op.Session)
	}
	return []*Entry{e.bare()}, nil
}

// set writes a value. Whoever holds the key's lock keeps it.
func (t *txn) set(op Op) ([]*Entry, error) {
	e := &Entry{Key: op.Key, Value: op.Value, Flags: op.Flags}
	if before := t.get(op.Key); before != nil {
		e.Session, e.LockIndex = before.Session, before.LockIndex
	}
	return t.put(e)
}

func (t *txn) cas(op Op) ([]*Entry, error) {
	if !t.at(op.Key, op.Index) {
		return nil, refuse("failed to set key %q, index is stale", op.Key)
	}
	return t.set(op)
}

func (t *txn) deleteCAS(op Op) error {
	if t.get(op.Key) != nil && !t.at(op.Key, op.Index) {
		return refuse("failed to delete key %q, index is stale", op.Key)
	}
	t.delete(op.Key)
	return nil
}

// at reports whether a key was last changed at index; 0 is a key that is not
// there.
func (t *txn) at(key string, index uint64) bool {
	e := t.get(key)
	return e == nil && index == 0 || e != nil && e.ModifyIndex == index
}

func (t *txn) lock(op Op) ([]*Entry, error) {
	if t.store.sessions[op.Session] == nil {
		return nil, fmt.Errorf("%w %q", ErrSession, op.Session)
	}
	e := &Entry{Key: op.Key, Value: op.Value, Flags: op.Flags, Session: op.Session, LockIndex: 1}
	if t.store.delays[op.Key] > t.store.now() {
		return nil, refuse("failed to lock key %q due to lock delay", op.Key)
	}
	if before := t.get(op.Key); before != nil {
		switch before.Session {
		case "":
			e.LockIndex = before.LockIndex + 1
		case op.Session:
			e.LockIndex = before.LockIndex
		default:
			return nil, refuse("failed to lock key %q, lock is already held", op.Key)
		}
	}
	return t.put(e)
}

func (t *txn) unlock(op Op) ([]*Entry, error) {
	before := t.get(op.Key)
	if before == nil || before.Session == "" || before.Session != op.Session {
		return nil, refuse("failed to unlock key %q, lock isn't held, or is held by another session", op.Key)
	}
	return t.put(&Entry{Key: op.Key, Value: op.Value, Flags: op.Flags, LockIndex: before.LockIndex})
}

// put writes an entry. One that says what is there already changes nothing and
// wakes nobody.
func (t *txn) put(e *Entry) ([]*Entry, error) {
	e.CreateIndex, e.ModifyIndex = t.index, t.index
	e.Value = orNull(e.Value)
	before := t.get(e.Key)
	bytes, keys := t.bytes+e.weight(), t.keys+1
	if before != nil {
		if before.same(e) {
			return []*Entry{before.bare()}, nil
		}
		bytes, keys, e.CreateIndex = bytes-before.weight(), keys-1, before.CreateIndex
	}
	if bytes > maxBytes || keys > maxKeys {
		return nil, fmt.Errorf("%w: it holds at most %d keys and %d MiB", ErrFull, maxKeys, maxBytes>>20)
	}
	t.bytes, t.keys, t.changed = bytes, keys, true
	t.entries.Insert([]byte(e.Key), e)
	t.graves.Delete([]byte(e.Key))
	return []*Entry{e.bare()}, nil
}

func (t *txn) delete(key string) {
	if e, ok := t.entries.Delete([]byte(key)); ok {
		t.bytes, t.keys, t.changed = t.bytes-e.weight(), t.keys-1, true
		t.graves.Insert([]byte(key), t.index)
	}
}

func (t *txn) get(key string) *Entry {
	e, _ := t.entries.Get([]byte(key))
	return e
}

func (t *txn) tree(prefix string) (entries []*Entry) {
	t.entries.Root().WalkPrefix([]byte(prefix), func(_ []byte, e *Entry) bool {
		entries = append(entries, e)
		return false
	})
	return entries
}

func (e *Entry) same(o *Entry) bool {
	return e.Flags == o.Flags && e.Session == o.Session && e.LockIndex == o.LockIndex && string(e.Value) == string(o.Value)
}

// bare is an entry without its value.
func (e *Entry) bare() *Entry {
	b := *e
	b.Value = nil
	return &b
}

// refusal is an error whose text is Consul's and which is [ErrRefused].
type refusal string

func (r refusal) Error() string               { return string(r) }
func (refusal) Is(target error) bool          { return target == ErrRefused }
func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }
