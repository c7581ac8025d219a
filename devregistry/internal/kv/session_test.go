package kv

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func session(t testing.TB, s *Store, change func(*Session)) string {
	t.Helper()
	session := NewSession()
	if change != nil {
		change(&session)
	}
	if err := session.Validate(); err != nil {
		t.Fatal(err)
	}
	id, err := s.Create(session)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// running runs the store inside a synctest bubble; the function returned ends it.
func running(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func holder(s *Store, key string) string {
	e, _, _ := s.Get(key)
	if e == nil {
		return "nobody: it is gone"
	}
	return e.Session
}

func TestOneHoldsTheLock(t *testing.T) {
	s := open(t, "")
	a, b := session(t, s, nil), session(t, s, nil)
	do(t, s, Op{Verb: Lock, Key: "k", Session: a})
	refused(t, s, "lock is already held", Op{Verb: Lock, Key: "k", Session: b})
	refused(t, s, "held by another session", Op{Verb: Unlock, Key: "k", Session: b})
	do(t, s, Op{Verb: Lock, Key: "k", Session: a, Value: []byte("again")})
	do(t, s, Op{Verb: Set, Key: "k", Value: []byte("written by anybody")})
	if e, _, _ := s.Get("k"); e.Session != a || e.LockIndex != 1 {
		t.Errorf("after a second lock by the holder and a write: %+v", e)
	}
	do(t, s, Op{Verb: Unlock, Key: "k", Session: a})
	do(t, s, Op{Verb: Lock, Key: "k", Session: b})
	if e, _, _ := s.Get("k"); e.Session != b || e.LockIndex != 2 {
		t.Errorf("after another took it: %+v", e)
	}
	if _, failed := s.Apply(Op{Verb: Lock, Key: "k", Session: "none"}); !errors.Is(failed[0].Err, ErrSession) {
		t.Errorf("a session that is not there: %v", failed)
	}
}

func TestSessionRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		defer running(t, s)()
		id := session(t, s, func(s *Session) { s.TTL = "10s"; s.LockDelay = 5 * time.Second })
		other := session(t, s, nil)
		do(t, s, Op{Verb: Lock, Key: "k", Session: id})
		for range 3 { // renewing keeps it
			time.Sleep(19 * time.Second)
			if _, ok := s.Renew(id); !ok || holder(s, "k") != id {
				t.Fatal("ran out though it was renewed")
			}
		}
		time.Sleep(20*time.Second + time.Millisecond)
		synctest.Wait()
		if _, ok := s.Renew(id); ok || holder(s, "k") != "" {
			t.Fatalf("twice the TTL later the lock is held by %q", holder(s, "k"))
		}
		refused(t, s, "due to lock delay", Op{Verb: Lock, Key: "k", Session: other})
		time.Sleep(5 * time.Second)
		do(t, s, Op{Verb: Lock, Key: "k", Session: other})
	})
}

func TestSessionThatRemovesItsKeys(t *testing.T) {
	s := open(t, "")
	id := session(t, s, func(s *Session) { s.Behavior, s.LockDelay = Remove, 0 })
	do(t, s, Op{Verb: Lock, Key: "k", Session: id})
	do(t, s, Op{Verb: Set, Key: "other"})
	_, _, changed := s.Get("k")
	s.Destroy(id)
	<-changed
	if e, _, _ := s.Get("k"); e != nil {
		t.Errorf("still there: %+v", e)
	}
	if e, _, _ := s.Get("other"); e == nil {
		t.Error("a key that was never locked is gone")
	}
}

func TestSessionEndsWithItsCheck(t *testing.T) {
	s := open(t, "")
	one := session(t, s, func(s *Session) { s.NodeChecks = []string{"disk"} })
	session(t, s, func(s *Session) { s.ServiceChecks = []ServiceCheck{{ID: "web"}} })
	session(t, s, nil)
	_, before, changed := s.Sessions("")
	s.CheckFailed("disk")
	<-changed
	left, after, _ := s.Sessions("")
	if gone, _, _ := s.Sessions(one); len(gone) != 0 || len(left) != 2 || after <= before {
		t.Errorf("%d of the one, %d left, index %d after %d", len(gone), len(left), after, before)
	}
	s.CheckFailed("web")
	if left, _, _ := s.Sessions(""); len(left) != 1 {
		t.Errorf("%d left", len(left))
	}
}

func TestSessionsThatAreRefused(t *testing.T) {
	for text, s := range map[string]Session{
		"Invalid Behavior":          {Behavior: "keep"},
		"must be between":           {TTL: "9s"},
		"must be between [10s=24h":  {TTL: "25h"},
		"Session TTL 'x' invalid":   {TTL: "x"},
		"Invalid lock delay -1s: i": {LockDelay: -time.Second},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", s, err, text)
		}
	}
}

func TestKeysAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "keys.json")
	var index uint64
	synctest.Test(t, func(t *testing.T) {
		s := open(t, file)
		stop := running(t, s)
		id, brief := session(t, s, nil), session(t, s, func(s *Session) { s.Behavior = Remove })
		do(t, s, Op{Verb: Lock, Key: "locked", Session: id, Value: []byte{0, 255}})
		do(t, s, Op{Verb: Set, Key: "member"})
		time.Sleep(2 * behind) // so that it is in the file
		do(t, s, Op{Verb: Lock, Key: "member", Session: brief})
		time.Sleep(behind)
		synctest.Wait()
		if _, err := os.Stat(file); err != nil {
			t.Errorf("nothing is written a second later: %v", err)
		}
		index = do(t, s, Op{Verb: Set, Key: "late", Flags: 7})
		stop()
	})
	again := open(t, file)
	if member, _, _ := again.Get("member"); member != nil {
		t.Errorf("a key outlived the session that removes its keys: %+v", member)
	}
	locked, _, _ := again.Get("locked")
	late, _, _ := again.Get("late")
	if locked == nil || locked.Session != "" || string(locked.Value) != "\x00\xff" || late == nil || late.Flags != 7 || late.ModifyIndex != index {
		t.Errorf("after a restart: %+v, %+v", locked, late)
	}
	if next := do(t, again, Op{Verb: Set, Key: "next"}); next <= index {
		t.Errorf("the index went back to %d from %d", next, index)
	}
	if info, _ := os.Stat(file); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v", info.Mode())
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	for _, text := range []string{"{", `{"version":2}`, `{"version":1,"entries":[null]}`} {
		file := filepath.Join(t.TempDir(), "keys.json")
		os.WriteFile(file, []byte(text), 0o600)
		if _, err := Open(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "keys.json") || !strings.Contains(err.Error(), "move the file away") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data", "keys.json")
	synctest.Test(t, func(t *testing.T) {
		said := &lines{}
		s, err := Open(file, slog.New(slog.NewTextHandler(said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, "data"), nil, 0o600) // where the folder would go
		stop := running(t, s)
		do(t, s, Op{Verb: Set, Key: "a"})
		time.Sleep(behind + time.Millisecond)
		synctest.Wait()
		const want = "the registry's keys are not kept on disk: "
		if err := s.Err(); !strings.Contains(said.String(), want) || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("said %q; a problem: %v", said, err)
		}
		os.Remove(filepath.Join(dir, "data"))
		time.Sleep(again)
		synctest.Wait()
		if _, err := os.Stat(file); err != nil {
			t.Errorf("not written once it can be: %v", err)
		}
		if err := s.Err(); err != nil {
			t.Errorf("still a problem: %v", err)
		}
		stop()
	})
}

type lines struct{ strings.Builder }
