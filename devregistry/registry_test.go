package devregistry

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func cart(id string) Instance {
	return Instance{ID: id, Service: "cart", Address: "127.0.0.1", Port: 9000, Tags: []string{"v1"}}
}

// fresh returns a registry that keeps nothing.
func fresh(t testing.TB) *Registry {
	t.Helper()
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Registry) indexOf(topic string) uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.topics.at(topic)
}

func TestPassingHoldsWhatPasses(t *testing.T) {
	r := fresh(t)
	r.Register(cart("cart-3"))
	r.Register(cart("cart-2"))
	r.Register(cart("cart-1"))
	r.Register(Instance{ID: "billing-1", Service: "billing"})
	r.mu.Lock()
	r.putCheck(&check{id: "ttl", serviceID: "cart-2", serviceName: "cart", status: statusWarning})
	r.mu.Unlock()
	want := []Instance{cart("cart-1"), cart("cart-3")}
	if diff := cmp.Diff(want, r.Passing("cart")); diff != "" {
		t.Errorf("passing (-want +got):\n%s", diff)
	}
}

func TestRegisterAgainWakesNobody(t *testing.T) {
	r := fresh(t)
	r.Register(cart("cart-1"))
	before := r.indexOf(allServices)
	r.Register(cart("cart-1"))
	r.Deregister("unknown")
	if after := r.indexOf(allServices); after != before {
		t.Errorf("index went from %d to %d though nothing changed", before, after)
	}
}

func TestPassingIsTheCallersOwn(t *testing.T) {
	r := fresh(t)
	in := cart("cart-1")
	r.Register(in)
	in.Tags[0] = "changed"
	got := r.Passing("cart")
	if got[0].Tags[0] != "v1" {
		t.Error("the registry shares its tags with the one who registered")
	}
	got[0].Tags[0] = "changed"
	if again := r.Passing("cart"); again[0].Tags[0] != "v1" {
		t.Error("the registry shares its tags with a reader")
	}
}

func TestFollowMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		r.Register(Instance{ID: "billing-1", Service: "billing"})
		ctx, cancel := context.WithCancel(t.Context())
		told, ended := make(chan []string), make(chan struct{})
		go func() {
			defer close(ended)
			r.Follow(ctx, func(services []string) { told <- services })
		}()
		expect := func(want ...string) {
			t.Helper()
			if got := <-told; !slices.Equal(got, want) {
				t.Errorf("told of %v, want %v", got, want)
			}
		}
		expect("billing")
		r.Register(cart("cart-1"))
		synctest.Wait() // it is about to tell of cart
		r.Register(cart("cart-2"))
		r.Deregister("billing-1")
		expect("cart")
		expect("billing", "cart") // what came meanwhile
		if got := r.Passing("cart"); len(got) != 2 || got[0].ID != "cart-1" || len(r.Passing("billing")) > 0 {
			t.Errorf("passing: %v", got)
		}
		cancel()
		<-ended
	})
}

func TestWaitersOfOneServiceSleepThroughChangesOfAnother(t *testing.T) {
	r := fresh(t)
	r.Register(cart("cart-1"))
	before := r.indexOf(ofService + "cart")
	r.Register(Instance{ID: "billing-1", Service: "billing"})
	if r.indexOf(ofService+"cart") != before {
		t.Error("a change of billing moved cart's index")
	}
	r.Deregister("cart-1")
	if r.indexOf(ofService+"cart") <= before {
		t.Error("the index of a service went back when it disappeared")
	}
}

func TestMovingToAnotherNameChangesBoth(t *testing.T) {
	r := fresh(t)
	r.Register(cart("a"))
	before := r.indexOf(ofService + "cart")
	r.Register(Instance{ID: "a", Service: "basket"})
	if r.indexOf(ofService+"cart") <= before || len(r.names["cart"]) != 0 || len(r.names["basket"]) != 1 {
		t.Errorf("after the move: index %d (was %d), names %v", r.indexOf(ofService+"cart"), before, r.names)
	}
}

// run starts the registry's Run inside a synctest bubble.
func run(t *testing.T, r *Registry) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func withTTL(r *Registry, ttl, reap time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &service{Instance: cart("cart-1"), weights: defaultWeights}
	r.addService(s, []*check{{
		id: "service:cart-1", serviceID: "cart-1", serviceName: "cart", kind: "ttl",
		status: statusPassing, ttl: ttl, reapAfter: reap,
	}}, false)
}

func passingNow(r *Registry) int {
	return len(r.Passing("cart"))
}

func sizes(r *Registry) (services, checks int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.services), len(r.checks)
}

func TestTTLRunsOutAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		run(t, r)
		withTTL(r, 10*time.Second, 0)
		for range 3 { // heartbeats keep it alive past its TTL
			time.Sleep(9 * time.Second)
			if err := r.report("service:cart-1", statusPassing, ""); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(9 * time.Second)
		if passingNow(r) != 1 {
			t.Fatal("expired though it reported in time")
		}
		time.Sleep(1001 * time.Millisecond)
		if passingNow(r) != 0 {
			t.Fatal("still passing after its TTL")
		}
		if err := r.report("service:cart-1", statusPassing, "back"); err != nil {
			t.Fatal(err)
		}
		if passingNow(r) != 1 {
			t.Fatal("did not recover")
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if passingNow(r) != 0 {
			t.Fatal("the TTL of a check that recovered did not run out")
		}
	})
}

func TestCriticalServiceIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		run(t, r)
		withTTL(r, 10*time.Second, time.Minute)
		time.Sleep(69 * time.Second)
		if services, _ := sizes(r); services != 1 {
			t.Fatal("removed before its time")
		}
		time.Sleep(1001 * time.Millisecond)
		if services, checks := sizes(r); services != 0 || checks != 0 {
			t.Fatalf("still there: %d services, %d checks", services, checks)
		}
	})
}
