package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ebef7166/mesh/internal/atomicfile"
)

const (
	// idle is how long Run sleeps when nothing is due; a change wakes it.
	idle = time.Hour

	// behind is how long a change may wait for the file: many are written as one.
	behind = time.Second

	// again is when a file that could not be written is tried again.
	again = 10 * time.Second
)

// Run lets sessions run out, and writes the file when entries have changed, a
// second behind, and once more when ctx ends. A file that cannot be written, on a
// full disk, say, is tried again; the store works on without.
func (s *Store) Run(ctx context.Context) error {
	due, save := time.NewTimer(0), time.NewTimer(idle)
	defer due.Stop()
	defer save.Stop()
	waiting := false // save is set
	for {
		select {
		case <-ctx.Done():
			return s.save()
		case <-save.C:
			waiting = false
			if err := s.save(); err != nil {
				s.log.Warn(err.Error())
				waiting = true
				save.Reset(again)
			}
		case <-due.C:
			due.Reset(s.expire())
		case <-s.kick:
			due.Reset(s.expire())
			if !waiting {
				waiting = true
				save.Reset(behind)
			}
		}
	}
}

// kept is the file: version 1, and the entries as Consul's JSON has them.
type kept struct {
	Version int      `json:"version"`
	Entries []*Entry `json:"entries"`
}

// load reads the file. Sessions do not outlive the process, so no key is locked.
func (s *Store) load() error {
	if s.file == "" {
		return nil
	}
	data, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err == nil && k.Version != 1 {
		err = fmt.Errorf("version %d is not known", k.Version)
	}
	if err == nil && slices.Contains(k.Entries, nil) {
		err = errors.New("an entry is null")
	}
	if err != nil {
		return fmt.Errorf("read the kept keys: %s: %w; move the file away to begin without any", s.file, err)
	}
	t := s.begin()
	for _, e := range k.Entries {
		e.Session, e.Value = "", orNull(e.Value)
		t.index = max(t.index, e.ModifyIndex+1)
		t.bytes += e.weight()
		t.entries.Insert([]byte(e.Key), e)
	}
	t.changed = true
	t.commit()
	return nil
}

// Err says why the newest entries are not in the file; nil: they are, or will be
// in a moment.
func (s *Store) Err() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.failed
}

// save writes the file when it is behind.
func (s *Store) save() error {
	err := s.write()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	return err
}

// brief are the sessions whose keys are removed when they end. Sessions end with mesh,
// so such a key is not kept; s.mu is held.
func (s *Store) brief() map[string]bool {
	brief := map[string]bool{}
	for id, session := range s.sessions {
		brief[id] = session.Behavior == Remove
	}
	return brief
}

func (s *Store) write() error {
	s.mu.RLock()
	entries, brief := s.entries, s.brief()
	s.mu.RUnlock()
	if s.file == "" || entries == s.saved {
		return nil
	}
	k := kept{Version: 1, Entries: make([]*Entry, 0, entries.Len())}
	entries.Root().Walk(func(_ []byte, e *Entry) bool {
		if !brief[e.Session] {
			k.Entries = append(k.Entries, e)
		}
		return false
	})
	data, err := json.Marshal(k)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.file), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(s.file, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("the registry's keys are not kept on disk: %w", err)
	}
	s.saved = entries
	return nil
}
