package devidentity

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	oidc "github.com/coreos/go-oidc/v3/oidc"
	jose "github.com/go-jose/go-jose/v4"
)

// kids are the keys that relying parties see.
func (w *world) kids() (ids []string) {
	w.t.Helper()
	_, body := w.get(w.endpoint("/jwks"))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(body), &set); err != nil {
		w.t.Fatal(err)
	}
	for _, k := range set.Keys {
		ids = append(ids, k.KeyID)
	}
	return ids
}

func (w *world) issue() string {
	w.t.Helper()
	token, err := w.Issue(w.t.Context(), TokenRequest{User: "alice"})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// TestRotation: whoever verifies, mesh itself or a relying party that has the old
// keys in its memory, takes tokens of both keys, before and after a restart.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	provider, err := oidc.NewProvider(t.Context(), w.issuer())
	if err != nil {
		t.Fatal(err)
	}
	party := provider.Verifier(&oidc.Config{ClientID: "shop"})
	check := func(token string) {
		t.Helper()
		if _, err := w.verifier.Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
		if _, err := party.Verify(t.Context(), token); err != nil {
			t.Error(err)
		}
	}
	before, first := w.issue(), w.kids()[0]
	check(before)
	r, err := w.Rotate()
	if err != nil || r.Key == first || len(r.Retired) != 1 || r.Retired[0].Key != first || time.Until(r.Retired[0].Until) < maxTTL {
		t.Fatalf("%+v %v", r, err)
	}
	after := w.issue()
	check(before)
	check(after)
	if ids := w.kids(); len(ids) != 2 || ids[0] != r.Key {
		t.Errorf("%v", ids)
	}
	w.restart()
	check(before)
	check(after)
	check(w.issue())
}

// TestRetiredKeysEnd: a key that signs no more is honoured as long as a token of
// it may live, and not longer; so many are honoured and no more.
func TestRetiredKeysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys.json")
		ring, err := loadKeys(file)
		if err != nil {
			t.Fatal(err)
		}
		first := ring.current.Load().Keys[0].KeyID
		for range maxKeys - 1 {
			time.Sleep(time.Minute)
			if _, err := ring.rotate(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ring.rotate(); err == nil || !strings.Contains(err.Error(), "can be made at") {
			t.Errorf("more than %d keys: %v", maxKeys, err)
		}
		time.Sleep(maxTTL + leeway - time.Duration(maxKeys-2)*time.Minute - time.Second)
		if _, err := ring.find(first); err != nil {
			t.Errorf("a moment before its end: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := ring.find(first); err == nil {
			t.Error("honoured after its end")
		}
		if n := len(ring.public().Keys); n != maxKeys-1 {
			t.Errorf("%d keys are told", n)
		}
		if set, err := ring.rotate(); err != nil || len(set.Keys) != maxKeys {
			t.Errorf("%v", err)
		}
		again, err := loadKeys(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.find(first); err == nil {
			t.Error("honoured again after a restart")
		}
	})
}

func TestATokenLivesADayAtMost(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Issue(t.Context(), TokenRequest{User: "alice", TTL: maxTTL + 1}); err == nil {
		t.Error("a token that outlives its key")
	}
}
