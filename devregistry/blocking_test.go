package devregistry

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/api/watch"
)

// TestWatchersSeeEachChangeOnceInOrder has watchers follow one service while
// others change too. Each answer must be new, at a higher index, and hold what the
// service said last before the next.
func TestWatchersSeeEachChangeOnceInOrder(t *testing.T) {
	r, c := serve(t)
	const watchers, changes = 8, 200
	step := func(n int) {
		r.Register(Instance{ID: "cart-1", Service: "cart", Address: "127.0.0.1", Port: n})
		r.Register(Instance{ID: "noise", Service: "noise", Address: "127.0.0.1", Port: n})
	}
	step(1)
	var watching sync.WaitGroup
	for range watchers {
		watching.Go(func() {
			var index uint64
			for last := 0; last < changes; {
				entries, meta, err := c.Health().Service("cart", "", true, (&api.QueryOptions{WaitIndex: index}).WithContext(t.Context()))
				if err != nil {
					t.Error(err)
					return
				}
				if len(entries) != 1 || meta.LastIndex <= index || entries[0].Service.Port <= last {
					t.Errorf("after %d at %d: %v at %d", last, index, entries[0].Service.Port, meta.LastIndex)
					return
				}
				if entries[0].Service.ModifyIndex > meta.LastIndex {
					t.Errorf("a change of index %d in an answer of index %d", entries[0].Service.ModifyIndex, meta.LastIndex)
				}
				last, index = entries[0].Service.Port, meta.LastIndex
			}
		})
	}
	for n := 2; n <= changes; n++ {
		step(n)
	}
	watching.Wait()
}

// TestViewsAgree follows the catalog at random changes by plain blocking queries,
// and in the end all watchers have what the registry has.
func TestViewsAgree(t *testing.T) {
	r, c := serve(t)
	const watchers, changes = 4, 400
	views := make([]map[string][]string, watchers)
	var watching sync.WaitGroup
	for i := range views {
		watching.Go(func() {
			var index uint64
			for {
				names, meta, err := c.Catalog().Services((&api.QueryOptions{WaitIndex: index}).WithContext(t.Context()))
				if err != nil {
					t.Error(err)
					return
				}
				if meta.LastIndex <= index {
					t.Errorf("index %d after %d", meta.LastIndex, index)
				}
				views[i], index = names, meta.LastIndex
				if _, end := names["end"]; end {
					return
				}
			}
		})
	}
	for range changes {
		id := fmt.Sprint("s-", rand.N(20))
		if rand.N(3) == 0 {
			r.Deregister(id)
		} else {
			r.Register(Instance{ID: id, Service: "s" + id[len(id)-1:], Tags: []string{strconv.Itoa(rand.N(3))}})
		}
	}
	r.Register(Instance{ID: "end", Service: "end"})
	watching.Wait()
	want, _, err := c.Catalog().Services(nil)
	check0(t, err)
	for i, got := range views {
		if !maps.EqualFunc(got, want, func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("watcher %d has %v, want %v", i, got, want)
		}
	}
}

// query starts a blocking query inside a synctest bubble.
func query(t *testing.T, r *Registry, path string) (ended func() bool, w *httptest.ResponseRecorder) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w = httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/"+path, nil).WithContext(ctx))
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() bool {
		synctest.Wait()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}, w
}

func TestQueriesSleepThroughWhatIsNotTheirs(t *testing.T) {
	for path, wakes := range map[string]func(r *Registry){
		"health/service/cart":   func(r *Registry) { r.report("ttl", statusWarning, "") },
		"catalog/service/cart":  func(r *Registry) { r.Deregister("cart-1") },
		"health/checks/cart":    func(r *Registry) { r.report("ttl", statusCritical, "") },
		"catalog/services":      func(r *Registry) { r.Register(cart("cart-9")) },
		"health/service/absent": func(r *Registry) { r.Register(Instance{ID: "a", Service: "absent"}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := fresh(t)
			r.Register(Instance{ID: "noise", Service: "noise"})
			r.Register(cart("cart-1"))
			r.mu.Lock()
			r.putCheck(&check{id: "ttl", serviceID: "cart-1", serviceName: "cart", status: statusPassing, ttl: time.Hour})
			r.mu.Unlock()
			_, first := query(t, r, path)
			synctest.Wait()
			ended, _ := query(t, r, path+"?index="+first.Header().Get("X-Consul-Index"))
			r.Register(Instance{ID: "noise-2", Service: "absent-noise"})
			r.report("ttl", statusPassing, "") // a heartbeat
			r.report("ttl", statusPassing, "a heartbeat that says something")
			r.mu.Lock()
			r.putCheck(&check{id: "noise-ttl", serviceID: "noise", serviceName: "noise", status: statusPassing, ttl: time.Hour})
			r.mu.Unlock()
			r.report("noise-ttl", statusCritical, "")
			if path != "catalog/services" && ended() {
				t.Errorf("%s was woken by another's changes", path)
			}
			wakes(r)
			if !ended() {
				t.Errorf("%s sleeps through its own change", path)
			}
		})
	}
}

func TestQueriesWaitAsLongAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		r.Register(cart("cart-1"))
		path := fmt.Sprintf("health/service/cart?wait=16s&index=%d", r.indexOf(ofService+"cart"))
		ended, w := query(t, r, path)
		time.Sleep(16*time.Second - time.Millisecond)
		if ended() {
			t.Fatal("ended before its time")
		}
		time.Sleep(time.Second + time.Millisecond) // a sixteenth more at most
		if !ended() || w.Header().Get("X-Consul-Index") != strconv.FormatUint(r.indexOf(ofService+"cart"), 10) {
			t.Errorf("after the wait: ended %v, %v", ended(), w.Header())
		}
		if n := len(r.topics.waiting); n > 0 {
			t.Errorf("%d topics have waiters when nobody waits", n)
		}
	})
}

// TestAnIndexOfTheFuture is one of another registry: its holder is answered at
// once, with an index to begin anew from.
func TestAnIndexOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		r.Register(cart("cart-1"))
		for _, path := range []string{"health/service/cart", "catalog/services", "kv/a?recurse=", "session/list"} {
			mark := "?"
			if path == "kv/a?recurse=" {
				mark = "&"
			}
			ended, w := query(t, r, path+mark+"index=9000000000000000000")
			if !ended() || w.Header().Get("X-Consul-Index") == "" {
				t.Errorf("%s waits for an index that does not come", path)
			}
		}
	})
}

func TestHashBlocksUntilTheServiceSaysSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		r.Register(cart("cart-1"))
		_, first := query(t, r, "agent/service/cart-1")
		synctest.Wait()
		hash := first.Header().Get("X-Consul-ContentHash")
		ended, w := query(t, r, "agent/service/cart-1?hash="+hash)
		r.Register(cart("cart-2"))
		if ended() {
			t.Fatal("ended though nothing changed")
		}
		changed := cart("cart-1")
		changed.Port++
		r.Register(changed)
		if !ended() || w.Header().Get("X-Consul-ContentHash") == hash {
			t.Errorf("after a change: ended %v, hash %s", ended(), w.Header().Get("X-Consul-ContentHash"))
		}
		late, w := query(t, r, "agent/service/cart-1?wait=1s&hash="+w.Header().Get("X-Consul-ContentHash"))
		time.Sleep(2 * time.Second)
		if !late() || w.Code != 200 {
			t.Errorf("after its wait: %d", w.Code)
		}
	})
}

// TestKeptAnswersAreNeverOld: what is kept as JSON is told at its own index alone.
func TestKeptAnswersAreNeverOld(t *testing.T) {
	r := fresh(t)
	h := r.Handler()
	for n := range maxKept + maxKept/4 {
		r.Register(Instance{ID: "cart-1", Service: "cart", Port: n + 1})
		path := "catalog/service/cart?filter=ServicePort == " + strconv.Itoa(n+1)
		_, first := ask(h, path)
		if _, again := ask(h, path); again != first || first == "[]" {
			t.Fatalf("change %d: %s, then %s", n, first, again)
		}
	}
	if n := len(r.kept.of); n > maxKept || r.kept.bytes > maxKeptBytes {
		t.Errorf("%d answers of %d bytes are kept", n, r.kept.bytes)
	}
}

// TestOutputIsToldAsItIs: what a check says changes no index, and is told at once to
// whoever asks.
func TestOutputIsToldAsItIs(t *testing.T) {
	r := fresh(t)
	r.Register(cart("cart-1"))
	r.mu.Lock()
	r.putCheck(&check{id: "own", serviceID: "cart-1", serviceName: "cart", status: statusPassing, ttl: time.Hour})
	r.putCheck(&check{id: "node", status: statusPassing, ttl: time.Hour})
	r.mu.Unlock()
	h := r.Handler()
	index := r.indexOf(ofService + "cart")
	for _, words := range []string{"one", "two", "three"} {
		check0(t, r.report("own", statusPassing, words))
		check0(t, r.report("node", statusPassing, words+"!"))
		for _, path := range []string{"health/service/cart?", "health/node/mesh?", "health/state/passing?", "agent/checks?"} {
			if _, body := ask(h, path); !strings.Contains(body, `"Output":"`+words+`"`) || !strings.Contains(body, `"Output":"`+words+`!"`) {
				t.Errorf("%s after %q: %s", path, words, body)
			}
		}
	}
	if now := r.indexOf(ofService + "cart"); now != index {
		t.Errorf("index %d after %d", now, index)
	}
}

// TestConsulsOwnWatches runs the watch plans of Consul's command.
func TestConsulsOwnWatches(t *testing.T) {
	r, c := serve(t)
	for _, params := range []map[string]any{
		{"type": "service", "service": "cart", "passingonly": true},
		{"type": "services"}, {"type": "checks", "service": "cart"}, {"type": "nodes"},
		{"type": "key", "key": "a"}, {"type": "keyprefix", "prefix": "a"},
	} {
		plan, err := watch.Parse(params)
		check0(t, err)
		seen := make(chan uint64, 100)
		plan.HybridHandler = func(at watch.BlockingParamVal, _ any) {
			if index, ok := at.(watch.WaitIndexVal); ok {
				seen <- uint64(index)
			}
		}
		var running sync.WaitGroup
		running.Go(func() { check0(t, plan.RunWithClientAndHclog(c, nil)) })
		if strings.HasPrefix(plan.Type, "key") {
			must[*api.WriteMeta](t)(c.KV().Put(&api.KVPair{Key: "a", Value: []byte(fmt.Sprint(params))}, nil))
		}
		first := <-seen
		r.Register(Instance{ID: "cart-1", Service: "cart", Tags: []string{plan.Type}})
		must[*api.WriteMeta](t)(c.KV().Put(&api.KVPair{Key: "a", Value: []byte(fmt.Sprint(params, 2))}, nil))
		if plan.Type != "nodes" {
			if second := <-seen; second <= first {
				t.Errorf("%v: index %d after %d", params, second, first)
			}
		}
		plan.Stop()
		running.Wait()
	}
}
