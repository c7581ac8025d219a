package devidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebef7166/mesh/internal/atomicfile"
)

// maxFamilies bounds the refresh tokens that are alive. At the bound the one
// that expires first is forgotten, and its owner signs in again.
const maxFamilies = 5000

// family is a line of refresh tokens that came from one sign-in. Only its
// newest token is good; whoever shows an older one ends the family (RFC 9700
// section 4.14.2).
type family struct {
	Grant    string    `json:"grant"`
	Client   string    `json:"client"`
	User     string    `json:"user"`
	Scopes   []string  `json:"scopes"`
	AuthTime time.Time `json:"auth_time"`
	Token    string    `json:"token_sha256"` // of the newest token, so that the file is no credential
	Expires  time.Time `json:"expires"`
}

// state is what survives a restart: refresh tokens, and which grants and
// tokens were revoked. It is on disk before an answer that depends on it.
type state struct {
	file    string
	revoked atomic.Pointer[map[string]time.Time] // replaced, never changed: read on every request

	mu       sync.Mutex
	families map[string]family // by the ID that its tokens start with
}

// stateFile is the JSON of the file.
type stateFile struct {
	Families map[string]family    `json:"families"`
	Revoked  map[string]time.Time `json:"revoked"` // grant or token ID to when it no longer matters
}

func loadState(file string) (*state, error) {
	s := &state{file: file, families: make(map[string]family)}
	s.revoked.Store(&map[string]time.Time{})
	body, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("identity: reading grants: %w", err)
	}
	var saved stateFile
	if err := json.Unmarshal(body, &saved); err != nil {
		return nil, fmt.Errorf("identity: %s is damaged (remove it, and everybody signs in again): %w", file, err)
	}
	if saved.Families != nil {
		s.families = saved.Families
	}
	if saved.Revoked != nil {
		s.revoked.Store(&saved.Revoked)
	}
	return s, nil
}

// update changes the families, and saves. When it cannot save, nothing
// changes and nobody is told otherwise.
func (s *state) update(change func(families map[string]family) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(s.families)
	if err := change(next); err != nil {
		return err
	}
	pruneFamilies(next)
	if err := s.save(next, *s.revoked.Load()); err != nil {
		return err
	}
	s.families = next
	return nil
}

// revoke ends grants and single tokens by ID: their refresh tokens at once,
// their access tokens for as long as those could live.
func (s *state) revoke(until time.Time, ids ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, next, revoked := time.Now(), maps.Clone(s.families), maps.Clone(*s.revoked.Load())
	maps.DeleteFunc(revoked, func(_ string, end time.Time) bool { return end.Before(now) })
	for _, id := range ids {
		revoked[id] = until
	}
	maps.DeleteFunc(next, func(_ string, f family) bool { return slices.Contains(ids, f.Grant) })
	// The revocation holds in memory even when the disk refuses it.
	s.families = next
	s.revoked.Store(&revoked)
	return s.save(next, revoked)
}

func (s *state) save(families map[string]family, revoked map[string]time.Time) error {
	body, err := json.Marshal(stateFile{families, revoked})
	if err == nil {
		err = atomicfile.Write(s.file, body, 0o600)
	}
	if err != nil {
		return fmt.Errorf("identity: writing grants: %w", err)
	}
	return nil
}

func pruneFamilies(families map[string]family) {
	now := time.Now()
	maps.DeleteFunc(families, func(_ string, f family) bool { return f.Expires.Before(now) })
	for len(families) > maxFamilies {
		oldest := ""
		for id, f := range families {
			if oldest == "" || f.Expires.Before(families[oldest].Expires) {
				oldest = id
			}
		}
		delete(families, oldest)
	}
}

func (s *state) family(id string) (family, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.families[id]
	return f, ok && time.Now().Before(f.Expires)
}

// isRevoked says whether a token, or the grant that it came from, was
// revoked. It takes no lock and allocates nothing.
func (s *state) isRevoked(tokenID string) bool {
	revoked := *s.revoked.Load()
	if len(revoked) == 0 {
		return false
	}
	grant, _, _ := strings.Cut(tokenID, ".")
	_, byGrant := revoked[grant]
	_, byToken := revoked[tokenID]
	return byGrant || byToken
}
