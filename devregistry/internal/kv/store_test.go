package kv

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, file string) *Store {
	t.Helper()
	s, err := Open(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do applies one operation and returns the index that its key then has.
func do(t testing.TB, s *Store, op Op) uint64 {
	t.Helper()
	if _, failed := s.Apply(op); failed != nil {
		t.Fatal(failed)
	}
	_, index, _ := s.Get(op.Key)
	return index
}

func refused(t *testing.T, s *Store, text string, ops ...Op) {
	t.Helper()
	_, failed := s.Apply(ops...)
	if len(failed) == 0 || !errors.Is(failed[0].Err, ErrRefused) || !strings.Contains(failed[0].What, text) {
		t.Errorf("%v: %v, want a refusal with %q", ops, failed, text)
	}
}

func TestCheckAndSet(t *testing.T) {
	s := open(t, "")
	first := do(t, s, Op{Verb: CAS, Key: "a", Value: []byte("1")})
	refused(t, s, "index is stale", Op{Verb: CAS, Key: "a"})
	second := do(t, s, Op{Verb: CAS, Key: "a", Value: []byte("2"), Index: first})
	refused(t, s, "index is stale", Op{Verb: CAS, Key: "a", Index: first})
	refused(t, s, "index is stale", Op{Verb: DeleteCAS, Key: "a", Index: first})
	e, _, _ := s.Get("a")
	if string(e.Value) != "2" || e.CreateIndex != first || e.ModifyIndex != second {
		t.Errorf("after two sets: %+v", e)
	}
	gone := do(t, s, Op{Verb: DeleteCAS, Key: "a", Index: second})
	if e, _, _ := s.Get("a"); e != nil || gone <= second {
		t.Errorf("after the deletion: %+v at %d, set at %d", e, gone, second)
	}
}

func TestWritingWhatIsThereWakesNobody(t *testing.T) {
	s := open(t, "")
	before := do(t, s, Op{Verb: Set, Key: "a", Value: []byte("1")})
	_, _, changed := s.Get("a")
	if after := do(t, s, Op{Verb: Set, Key: "a", Value: []byte("1")}); after != before {
		t.Errorf("the index went from %d to %d", before, after)
	}
	select {
	case <-changed:
		t.Error("a watcher was woken")
	default:
	}
}

func TestTransactionsAreWhole(t *testing.T) {
	s := open(t, "")
	do(t, s, Op{Verb: Set, Key: "there", Value: []byte("1")})
	refused(t, s, `key "none" doesn't exist`, Op{Verb: Set, Key: "new"}, Op{Verb: DeleteTree}, Op{Verb: Get, Key: "none"})
	refused(t, s, `key "there" exists`, Op{Verb: CheckNotExists, Key: "there"})
	refused(t, s, "current modify index", Op{Verb: CheckIndex, Key: "there", Index: 1})
	refused(t, s, "failed session check", Op{Verb: CheckSession, Key: "there", Session: "x"})
	if got, _, _ := s.List(""); len(got) != 1 || got[0].Key != "there" {
		t.Errorf("a failed transaction left %v", got)
	}
	results, failed := s.Apply(Op{Verb: Set, Key: "b", Value: []byte("2")}, Op{Verb: Get, Key: "b"}, Op{Verb: GetTree}, Op{Verb: Delete, Key: "b"})
	if failed != nil || len(results) != 4 || results[0].Value != nil || string(results[1].Value) != "2" {
		t.Errorf("results %v, %v", results, failed)
	}
	if _, failed := s.Apply(Op{Verb: "twist"}); len(failed) != 1 || failed[0].What != `unknown KV verb "twist"` {
		t.Errorf("an unknown verb: %v", failed)
	}
}

func TestKeysToTheSeparator(t *testing.T) {
	s := open(t, "")
	for _, key := range []string{"a/b/1", "a/b/2", "a/c", "a/d/", "z"} {
		do(t, s, Op{Verb: Set, Key: key})
	}
	for separator, want := range map[string][]string{"": {"a/b/1", "a/b/2", "a/c", "a/d/"}, "/": {"a/b/", "a/c", "a/d/"}} {
		entries, _, _ := s.List("a/")
		if got := Keys(entries, "a/", separator); !slices.Equal(got, want) {
			t.Errorf("separator %q: %v, want %v", separator, got, want)
		}
	}
}

func TestWatchesWakeForTheirKeysAlone(t *testing.T) {
	s := open(t, "")
	do(t, s, Op{Verb: Set, Key: "a/1"})
	do(t, s, Op{Verb: Set, Key: "b/1"})
	_, _, key := s.Get("a/1")
	_, below, prefix := s.List("a/")
	do(t, s, Op{Verb: Set, Key: "b/2"})
	do(t, s, Op{Verb: Delete, Key: "b/1"})
	for name, changed := range map[string]<-chan struct{}{"key": key, "prefix": prefix} {
		select {
		case <-changed:
			t.Errorf("the watcher of a %s was woken by changes elsewhere", name)
		default:
		}
	}
	do(t, s, Op{Verb: Delete, Key: "a/1"})
	<-key
	<-prefix
	if _, index, _ := s.List("a/"); index <= below {
		t.Errorf("the index of a prefix went from %d to %d when its last key went", below, index)
	}
}

// TestIndexesNeverGoBack also when deletions are forgotten.
func TestIndexesNeverGoBack(t *testing.T) {
	s := open(t, "")
	var last uint64
	for i := range maxGraves + 10 {
		key := fmt.Sprint("k", i)
		do(t, s, Op{Verb: Set, Key: key})
		if index := do(t, s, Op{Verb: Delete, Key: key}); index <= last {
			t.Fatalf("deletion %d: index %d after %d", i, index, last)
		} else {
			last = index
		}
	}
	if _, index, _ := s.List("k"); index < last {
		t.Errorf("index %d, was %d", index, last)
	}
	if n := s.graves.Len(); n > maxGraves {
		t.Errorf("%d deletions are remembered", n)
	}
}

func TestFull(t *testing.T) {
	s := open(t, "")
	value := make([]byte, MaxValue)
	for i := 0; ; i++ {
		_, failed := s.Apply(Op{Verb: Set, Key: fmt.Sprint(i), Value: value})
		if failed == nil {
			continue
		}
		if !errors.Is(failed[0].Err, ErrFull) || i != maxBytes/(MaxValue+1) {
			t.Fatalf("after %d values of %d bytes: %v", i, len(value), failed)
		}
		break
	}
	do(t, s, Op{Verb: Delete, Key: "0"})
	do(t, s, Op{Verb: Set, Key: "0", Value: value})
}

// TestWatchersMissNothing has watchers of a prefix follow writers at random: each
// sees indexes that only rise, and in the end what there is.
func TestWatchersMissNothing(t *testing.T) {
	s := open(t, "")
	const writers, watchers, changes = 4, 8, 500
	var writing, watching sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range changes {
				op := Op{Verb: Set, Key: fmt.Sprintf("p/%d/%d", w, rand.N(20)), Value: []byte(fmt.Sprint(i))}
				if rand.N(3) == 0 {
					op.Verb = Delete
				}
				s.Apply(op)
			}
		})
	}
	views := make([]map[string]string, watchers)
	for i := range views {
		watching.Go(func() { views[i] = follow(t, s) })
	}
	writing.Wait()
	do(t, s, Op{Verb: Set, Key: "p/end"})
	watching.Wait()
	want := view(s)
	for i, got := range views {
		if !maps.Equal(got, want) {
			t.Errorf("watcher %d ended with %v, want %v", i, got, want)
		}
	}
}

func view(s *Store) map[string]string {
	entries, _, _ := s.List("p/")
	now := map[string]string{}
	for _, e := range entries {
		now[e.Key] = string(e.Value)
	}
	return now
}

func follow(t *testing.T, s *Store) map[string]string {
	var last uint64
	for {
		entries, index, changed := s.List("p/")
		if index < last {
			t.Errorf("index %d after %d", index, last)
		}
		last = index
		if slices.ContainsFunc(entries, func(e *Entry) bool { return e.Key == "p/end" }) {
			return view(s)
		}
		<-changed
	}
}

// FuzzOps compares the store with a map.
func FuzzOps(f *testing.F) {
	f.Add([]byte("sasbdacaSx"))
	f.Fuzz(func(t *testing.T, script []byte) {
		s, model := open(t, ""), map[string]string{}
		for i := 0; i+1 < len(script); i += 2 {
			verb, key := script[i], string(script[i+1])
			switch verb % 4 {
			case 0:
				do(t, s, Op{Verb: Set, Key: key, Value: script[i:]})
				model[key] = string(script[i:])
			case 1:
				do(t, s, Op{Verb: Delete, Key: key})
				delete(model, key)
			case 2:
				s.Apply(Op{Verb: CAS, Key: key, Value: script[:i]})
				if _, there := model[key]; !there {
					model[key] = string(script[:i])
				}
			case 3:
				s.Apply(Op{Verb: DeleteTree, Key: ""})
				clear(model)
			}
		}
		weight := 0
		for key, value := range model {
			weight += len(key) + len(value)
			if e, _, _ := s.Get(key); e == nil || string(e.Value) != value {
				t.Errorf("%q: %v, want %q", key, e, value)
			}
		}
		if entries, _, _ := s.List(""); len(entries) != len(model) || s.bytes != weight {
			t.Errorf("%d entries of %d bytes, want %d of %d", len(entries), s.bytes, len(model), weight)
		}
	})
}
