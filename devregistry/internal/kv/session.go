package kv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// What happens to the keys that a session has locked when it ends.
const (
	Release = "release"
	Remove  = "delete"
)

// Bounds and defaults of sessions, as in Consul.
const (
	minTTL           = 10 * time.Second
	maxTTL           = 24 * time.Hour
	defaultLockDelay = 15 * time.Second
	maxLockDelay     = time.Minute

	// ttlGrace is by how much longer a session lives than it asked for: a TTL
	// is a lower bound, and a client that renews at the last moment is not cut
	// off by a busy machine.
	ttlGrace = 2
)

// ServiceCheck is a check of a service that a session depends on.
type ServiceCheck struct{ ID, Namespace string }

// Session holds locks. Its JSON is Consul's: LockDelay in nanoseconds, TTL a Go
// duration ("10s"), or "" for one that does not run out.
type Session struct {
	ID, Name, Node string
	LockDelay      time.Duration // how long a key stays unlockable after this session lost it
	Behavior       string        // Release or Remove
	TTL            string
	NodeChecks     []string // a check that turns critical ends the session
	ServiceChecks  []ServiceCheck
	CreateIndex    uint64
	ModifyIndex    uint64

	ttl, deadline time.Duration // deadline is since the store's epoch
}

// Validate fills in defaults and says what is wrong with a session to be created.
func (s *Session) Validate() error {
	s.Behavior = cmp.Or(s.Behavior, Release)
	if s.Behavior != Release && s.Behavior != Remove {
		return invalid("Invalid Behavior setting '%s'", s.Behavior)
	}
	s.LockDelay = min(s.LockDelay, maxLockDelay)
	if s.LockDelay < 0 {
		return invalid("Invalid lock delay %v: it is negative", s.LockDelay)
	}
	if s.TTL == "" {
		return nil
	}
	ttl, err := time.ParseDuration(s.TTL)
	if err != nil {
		return invalid("Session TTL '%s' invalid: %v", s.TTL, err)
	}
	if ttl != 0 && (ttl < minTTL || ttl > maxTTL) {
		return invalid("Invalid Session TTL '%v', must be between [%v=%v]", ttl, minTTL, maxTTL)
	}
	s.ttl = ttl
	return nil
}

// invalid is an error with Consul's words, which begin with a capital.
func invalid(format string, args ...any) error { return fmt.Errorf(format, args...) }

// NewSession returns a session with Consul's lock delay.
func NewSession() Session { return Session{LockDelay: defaultLockDelay} }

// Create adds a session that was validated, and returns its new ID, a UUID.
func (s *Store) Create(session Session) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= maxSessions {
		return "", fmt.Errorf("%w: it holds at most %d sessions", ErrFull, maxSessions)
	}
	session.ID = uuid.NewString()
	s.sessionChanged(session.ID)
	session.CreateIndex, session.ModifyIndex = s.index, s.index
	session.deadline = s.now() + ttlGrace*session.ttl
	s.sessions[session.ID] = &session
	s.lookAgain()
	return session.ID, nil
}

// Renew gives a session its whole TTL again. False: there is no such session.
func (s *Store) Renew(id string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session, ok := s.sessions[id]
	if !ok {
		return Session{}, false
	}
	session.deadline = s.now() + ttlGrace*session.ttl
	return *session, true
}

// Destroy ends a session, which gives up its locks. One that is not there is no
// error.
func (s *Store) Destroy(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, ok := s.sessions[id]; ok {
		s.end(session)
	}
}

// CheckFailed ends the sessions that depend on a check, which is critical or gone.
func (s *Store) CheckFailed(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		if session.dependsOn(id) {
			s.end(session)
		}
	}
}

func (s *Session) dependsOn(check string) bool {
	return slices.Contains(s.NodeChecks, check) ||
		slices.ContainsFunc(s.ServiceChecks, func(c ServiceCheck) bool { return c.ID == check })
}

// Sessions returns all sessions, or with an ID that one alone; and the index and
// the channel that Get returns.
func (s *Store) Sessions(id string) ([]Session, uint64, <-chan struct{}) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	found := []Session{}
	for _, session := range s.sessions {
		if id == "" || session.ID == id {
			found = append(found, *session)
		}
	}
	slices.SortFunc(found, func(a, b Session) int { return cmp.Compare(a.ID, b.ID) })
	if index, ok := s.touched[id]; ok {
		return found, index, s.changed
	}
	return found, s.touched[""], s.changed // one that is gone: with the last to go
}

// end removes a session, and what it has locked is unlocked or deleted.
func (s *Store) end(session *Session) {
	delete(s.sessions, session.ID)
	t := s.begin()
	for _, e := range t.tree("") {
		if e.Session == session.ID {
			t.give(e, session)
		}
	}
	t.commit()
	s.sessionChanged(session.ID)
	delete(s.touched, session.ID)
}

// give takes a key from a session that ended. For the time of its lock delay the
// key cannot be locked, so that a holder who has not noticed can finish.
func (t *txn) give(e *Entry, from *Session) {
	if from.LockDelay > 0 {
		t.store.delays[e.Key] = t.store.now() + from.LockDelay
	}
	if from.Behavior == Remove {
		t.delete(e.Key)
		return
	}
	free := *e
	free.Session = ""
	_, _ = t.put(&free) // no larger than it was
}

// sessionChanged gives a session's change an index and wakes those who watch.
func (s *Store) sessionChanged(id string) {
	s.index++
	s.touched[id], s.touched[""] = s.index, s.index
	close(s.changed)
	s.changed = make(chan struct{})
}

// expire ends what has run out and returns how long until the next does.
func (s *Store) expire() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next := s.now(), s.now()+idle
	maps.DeleteFunc(s.delays, func(_ string, until time.Duration) bool { return until <= now })
	for _, session := range s.sessions {
		switch {
		case session.ttl == 0:
		case session.deadline <= now:
			s.end(session)
		default:
			next = min(next, session.deadline)
		}
	}
	return next - now
}
