package devregistry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/ebef7166/mesh/devregistry/internal/kv"
)

func put(t *testing.T, c *api.Client, key, value string) {
	t.Helper()
	_, err := c.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil)
	check0(t, err)
}

func get(t *testing.T, c *api.Client, key string) *api.KVPair {
	t.Helper()
	pair, _, err := c.KV().Get(key, nil)
	check0(t, err)
	return pair
}

func TestConsulClientKeys(t *testing.T) {
	_, c := serve(t)
	if get(t, c, "none") != nil {
		t.Error("a key that is not there is there")
	}
	for _, key := range []string{"a", "a/b", "a//b/../c", "a b?c#d%2f/ü", "a/b/c"} {
		put(t, c, key, "value of "+key)
		if pair := get(t, c, key); pair == nil || pair.Key != key || string(pair.Value) != "value of "+key {
			t.Errorf("%q: %+v", key, pair)
		}
	}
	names, _, err := c.KV().Keys("a/", "/", nil)
	check0(t, err)
	if got := strings.Join(names, " "); got != "a// a/b a/b/" {
		t.Errorf("keys to the separator: %s", got)
	}
	pairs, _, err := c.KV().List("a/b", nil)
	check0(t, err)
	if len(pairs) != 2 {
		t.Errorf("list: %v", pairs)
	}
	stale := &api.KVPair{Key: "a", Value: []byte("x"), Flags: 42, ModifyIndex: get(t, c, "a").ModifyIndex - 1}
	if ok, _, err := c.KV().CAS(stale, nil); ok || err != nil {
		t.Errorf("check-and-set at an old index: %v %v", ok, err)
	}
	stale.ModifyIndex++
	if ok, _, err := c.KV().CAS(stale, nil); !ok || err != nil || get(t, c, "a").Flags != 42 {
		t.Errorf("check-and-set: %v %v", ok, err)
	}
	if ok, _, _ := c.KV().DeleteCAS(stale, nil); ok {
		t.Error("deleted at an old index")
	}
	_, err = c.KV().DeleteTree("a/", nil)
	check0(t, err)
	if names, _, _ := c.KV().Keys("", "", nil); len(names) != 2 {
		t.Errorf("after deleting a/: %q", names)
	}
	_, err = c.KV().Delete("a", nil)
	check0(t, err)
	if get(t, c, "a") != nil {
		t.Error("there after its deletion")
	}
}

func TestValuesAreAtMostAsLargeAsConsuls(t *testing.T) {
	r := fresh(t)
	for size, want := range map[int]int{kv.MaxValue: 200, kv.MaxValue + 1: 413} {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/kv/a", bytes.NewReader(make([]byte, size))))
		if w.Code != want {
			t.Errorf("%d bytes: %d %s", size, w.Code, w.Body)
		}
	}
}

func TestRawValuesAreNoPages(t *testing.T) {
	r, c := serve(t)
	put(t, c, "page", "<script>alert(1)</script>")
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/kv/page?raw", nil))
	if h := w.Header(); w.Body.String() != "<script>alert(1)</script>" || h.Get("Content-Type") != "application/octet-stream" ||
		h.Get("Content-Security-Policy") != "sandbox" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v %s", h, w.Body)
	}
}

func TestConsulClientLock(t *testing.T) {
	r, c := serve(t)
	first, err := c.LockKey("lock")
	check0(t, err)
	second, err := c.LockKey("lock")
	check0(t, err)
	must[<-chan struct{}](t)(first.Lock(nil))
	var released atomic.Bool
	var waiting sync.WaitGroup
	waiting.Go(func() {
		lost, err := second.Lock(nil)
		if err != nil || !released.Load() {
			t.Errorf("locked twice, or %v", err)
			return
		}
		// A holder whose session ends is told.
		r.keys.Destroy(get(t, c, "lock").Session)
		<-lost
		_ = second.Unlock() // which is lost; this ends its renewals
	})
	released.Store(true)
	check0(t, first.Unlock())
	waiting.Wait()
}

// TestOneAcquires has many sessions ask for one key at once.
func TestOneAcquires(t *testing.T) {
	_, c := serve(t)
	var holders atomic.Int32
	var asking sync.WaitGroup
	for range 16 {
		asking.Go(func() {
			id, _, err := c.Session().CreateNoChecks(nil, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if ok, _, err := c.KV().Acquire(&api.KVPair{Key: "lock", Session: id}, nil); err != nil {
				t.Error(err)
			} else if ok {
				holders.Add(1)
			}
		})
	}
	asking.Wait()
	if n := holders.Load(); n != 1 {
		t.Errorf("%d hold the lock", n)
	}
}

func TestConsulClientSemaphore(t *testing.T) {
	_, c := serve(t)
	first, err := c.SemaphorePrefix("sem", 2)
	check0(t, err)
	second, err := c.SemaphorePrefix("sem", 2)
	check0(t, err)
	third, err := c.SemaphoreOpts(&api.SemaphoreOptions{Prefix: "sem", Limit: 2, SemaphoreTryOnce: true, SemaphoreWaitTime: time.Millisecond})
	check0(t, err)
	must[<-chan struct{}](t)(first.Acquire(nil))
	must[<-chan struct{}](t)(second.Acquire(nil))
	if got, err := third.Acquire(nil); got != nil || err != nil {
		t.Errorf("a third of two: %v %v", got, err)
	}
	check0(t, first.Release())
	if got, err := third.Acquire(nil); got == nil || err != nil {
		t.Errorf("after one was released: %v %v", got, err)
	}
	check0(t, second.Release())
	check0(t, third.Release())
}

func TestConsulClientSessions(t *testing.T) {
	_, c := serve(t)
	register(t, c, "web-1", &api.AgentServiceCheck{CheckID: "alive", TTL: "1h", Status: "passing"})
	id, _, err := c.Session().Create(&api.SessionEntry{Name: "me", TTL: "30s", LockDelay: 2 * time.Second, ServiceChecks: []api.ServiceCheck{{ID: "alive"}}}, nil)
	check0(t, err)
	info, _, err := c.Session().Info(id, nil)
	check0(t, err)
	if info.Name != "me" || info.TTL != "30s" || info.LockDelay != 2*time.Second || info.Node != "mesh" || info.Behavior != "release" {
		t.Errorf("info: %+v", info)
	}
	if list, _, _ := c.Session().Node("mesh", nil); len(list) != 1 {
		t.Errorf("sessions of the node: %v", list)
	}
	if renewed, _, err := c.Session().Renew(id, nil); err != nil || renewed.ID != id {
		t.Errorf("renewed: %v %v", renewed, err)
	}
	check0(t, c.Agent().FailTTL("alive", "gone"))
	if list, _, _ := c.Session().List(nil); len(list) != 0 {
		t.Errorf("the session outlived its check: %v", list)
	}
	if renewed, _, err := c.Session().Renew(id, nil); renewed != nil || err != nil {
		t.Errorf("renewed after its end: %v %v", renewed, err)
	}
	for text, entry := range map[string]*api.SessionEntry{
		"Missing check 'none' registration":    {NodeChecks: []string{"none"}},
		"Check 'alive' is in critical state":   {ServiceChecks: []api.ServiceCheck{{ID: "alive"}}},
		"must be between [10s=24h0m0s]":        {TTL: "1s"},
		"Missing node registration":            {Node: "elsewhere"},
		"Invalid Behavior setting 'elsewhere'": {Behavior: "elsewhere"},
	} {
		if _, _, err := c.Session().Create(entry, nil); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", entry, err, text)
		}
	}
	if ended, _, err := c.Session().Info(id, nil); ended != nil || err != nil {
		t.Errorf("info after its end: %v %v", ended, err)
	}
}

func TestConsulClientTransactions(t *testing.T) {
	_, c := serve(t)
	ok, answer, _, err := c.KV().Txn(api.KVTxnOps{
		{Verb: api.KVSet, Key: "a", Value: []byte("1")}, {Verb: api.KVSet, Key: "b", Value: []byte("2")},
		{Verb: api.KVGet, Key: "a"}, {Verb: api.KVGetTree, Key: ""}, {Verb: api.KVCheckNotExists, Key: "c"},
	}, nil)
	check0(t, err)
	if !ok || len(answer.Results) != 5 || string(answer.Results[2].Value) != "1" {
		t.Errorf("%v %+v", ok, answer)
	}
	ok, answer, _, err = c.KV().Txn(api.KVTxnOps{{Verb: api.KVDelete, Key: "a"}, {Verb: api.KVCAS, Key: "b", Index: 1}}, nil)
	check0(t, err)
	if ok || len(answer.Errors) != 1 || answer.Errors[0].OpIndex != 1 || answer.Errors[0].What != `failed to set key "b", index is stale` || get(t, c, "a") == nil {
		t.Errorf("one that fails: %v %+v", ok, answer)
	}
}

func TestAnswersToWrongKeys(t *testing.T) {
	r := fresh(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/v1/kv/", "", 400, "Missing key name"},
		{"GET", "/v1/kv/none", "", 404, ""},
		{"GET", "/v1/kv/?recurse", "", 404, ""},
		{"GET", "/v1/kv/?keys", "", 404, ""},
		{"GET", "/v1/kv/a?index=x", "", 400, "Invalid index"},
		{"PUT", "/v1/kv/", "x", 400, "Missing key name"},
		{"PUT", "/v1/kv/a?cas=1&acquire=x", "x", 400, "Conflicting flags"},
		{"PUT", "/v1/kv/a?cas=x", "x", 400, "Invalid cas"},
		{"PUT", "/v1/kv/a?flags=-1", "x", 400, "Invalid flags"},
		{"PUT", "/v1/kv/a?cas=7", "x", 200, "false"},
		{"PUT", "/v1/kv/a?acquire=none", "x", 500, `invalid session "none"`},
		{"PUT", "/v1/kv/a?release=none", "x", 200, "false"},
		{"DELETE", "/v1/kv/a?cas=1&recurse", "", 400, "Conflicting flags"},
		{"DELETE", "/v1/kv/none", "", 200, "true"},
		{"POST", "/v1/kv/a", "", 405, "method POST not allowed"},
		{"PUT", "/v1/txn", `[{"Service":{}}]`, 501, "over keys (KV) alone"},
		{"PUT", "/v1/txn", `[{"KV":{"Verb":"set"}}]`, 400, "Missing key name"},
		{"PUT", "/v1/txn", `[{"KV":{"Verb":"twist","Key":"a"}}]`, 409, "unknown KV verb"},
		{"PUT", "/v1/txn", `[` + strings.Repeat(`{"KV":{}},`, maxOps) + `{}]`, 413, "too many operations"},
		{"PUT", "/v1/session/create", `{"TTL":"1s"}`, 400, "must be between"},
		{"PUT", "/v1/session/renew/none", "", 404, "not found"},
		{"PUT", "/v1/session/destroy/none", "", 200, "true"},
		{"GET", "/v1/session/info/none", "", 200, "[]"},
	} {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
		if body, _ := io.ReadAll(w.Body); w.Code != tt.status || !strings.Contains(string(body), tt.text) {
			t.Errorf("%s %s: %d %s; want %d %s", tt.method, tt.path, w.Code, body, tt.status, tt.text)
		}
	}
}

// TestKeysLastUntilTheNextRun as a user of mesh up and mesh down expects.
func TestKeysLastUntilTheNextRun(t *testing.T) {
	file := t.TempDir() + "/registry/keys.json"
	for run := range 2 {
		r, err := New(Config{Keys: file})
		check0(t, err)
		ended := served(t, r)
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/kv/a?raw", nil))
		if got := fmt.Sprint(w.Code, w.Body); run == 1 && got != "200 kept" {
			t.Errorf("in the second run: %s", got)
		}
		r.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/v1/kv/a", strings.NewReader("kept")))
		ended()
	}
}

// TestEmptyValues: a key without a value has null, as in Consul, in the next run too.
func TestEmptyValues(t *testing.T) {
	file := t.TempDir() + "/keys.json"
	check0(t, os.WriteFile(file, []byte(`{"version":1,"entries":[{"Key":"kept","Value":"","CreateIndex":1,"ModifyIndex":1}]}`), 0o600))
	r, err := New(Config{Keys: file})
	check0(t, err)
	h := r.Handler()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/v1/kv/empty", nil))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/v1/txn", strings.NewReader(`[{"KV":{"Verb":"set","Key":"txn","Value":""}}]`)))
	for _, path := range []string{"kv/empty?", "kv/txn?", "kv/kept?"} {
		if code, body := ask(h, path); code != 200 || !strings.Contains(body, `"Value":null`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := ask(h, "kv/empty?raw&"); code != 200 || body != "" {
		t.Errorf("raw: %d %q", code, body)
	}
}

// FuzzKeyBodies sends transactions as they come: all or nothing.
func FuzzKeyBodies(f *testing.F) {
	f.Add(`[{"KV":{"Verb":"set","Key":"a","Value":"AQ=="}},{"KV":{"Verb":"cas","Key":"b","Index":1}}]`)
	f.Add(`[{"KV":{"Verb":"delete-tree","Key":""}},{"KV":{"Verb":"get","Key":"there"}}]`)
	f.Add(`{"TTL":"10s","LockDelay":15,"Behavior":"delete"}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := fresh(t)
		r.keys.Apply(kv.Op{Verb: kv.Set, Key: "there"})
		before, _, _ := r.keys.List("")
		for _, path := range []string{"/v1/txn", "/v1/session/create", "/v1/agent/check/register"} {
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPut, path, strings.NewReader(body)))
			after, _, _ := r.keys.List("")
			if w.Code != 200 && fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("%s answered %d and changed %v to %v", path, w.Code, before, after)
			}
			before = after
		}
	})
}
