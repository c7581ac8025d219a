package devregistry

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// consistent says whether the views that a registry has of its state agree.
func consistent(t *testing.T, r *Registry) {
	t.Helper()
	r.mu.RLock()
	defer r.mu.RUnlock()
	named, placed := 0, 0
	for name, instances := range r.names {
		named += len(instances)
		for id, s := range instances {
			if r.services[id] != s || s.Service != name {
				t.Errorf("%s is named %s, and is %+v", id, name, r.services[id])
			}
		}
	}
	for service, checks := range r.checksOn {
		placed += len(checks)
		for id, c := range checks {
			if r.checks[id] != c || c.serviceID != service || service != "" && r.services[service] == nil {
				t.Errorf("check %s is on %q, and is %+v", id, service, r.checks[id])
			}
		}
	}
	if named != len(r.services) || placed != len(r.checks) {
		t.Errorf("%d of %d services are named, %d of %d checks have a place", named, len(r.services), placed, len(r.checks))
	}
	for i, c := range r.deadlines {
		if c.position != i+1 || r.checks[c.id] != c || i > 0 && r.deadlines[(i-1)/2].at > c.at {
			t.Errorf("deadline %d: %+v", i, c)
		}
	}
	for _, c := range r.checks {
		if due := c.due(); due != never && (c.position == 0 || c.at > due) {
			t.Errorf("check %s is due at %v, and has place %d at %v", c.id, due, c.position, c.at)
		}
	}
	for topic, index := range r.topics.last {
		if name, ok := strings.CutPrefix(topic, ofService); index > r.topics.index || ok && len(r.names[name]) == 0 {
			t.Errorf("%s changed at %d, now is %d", topic, index, r.topics.index)
		}
	}
}

// TestStateAgreesWithItself does what clients do, at random.
func TestStateAgreesWithItself(t *testing.T) {
	r := fresh(t)
	h := r.Handler()
	some := func(of string) string { return fmt.Sprint(of, rand.N(4)) }
	for range 5000 {
		check := fmt.Sprintf(`{"CheckID":%q,"Name":"c","ServiceID":%q,"TTL":"%ds","DeregisterCriticalServiceAfter":"1h"}`, some("c"), some("i"), 1+rand.N(9))
		path, body := "", ""
		switch rand.N(8) {
		case 0, 1:
			path = "agent/service/register"
			body = fmt.Sprintf(`{"ID":%q,"Name":%q,"Port":%d,"Checks":[%s]}`, some("i"), some("s"), 1+rand.N(3), check)
		case 2:
			path, body = "agent/check/register", check
		case 3:
			path = "agent/service/deregister/" + some("i")
		case 4:
			path = "agent/check/deregister/" + some("c")
		case 5:
			path = "agent/check/" + []string{"pass", "warn", "fail"}[rand.N(3)] + "/" + some("c")
		case 6:
			path = "agent/service/maintenance/" + some("i") + "?enable=" + fmt.Sprint(rand.N(2) == 0)
		case 7:
			r.Register(Instance{ID: some("i"), Service: some("s"), Port: rand.N(3)})
		}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/v1/"+path, strings.NewReader(body)))
		consistent(t, r)
		if t.Failed() {
			t.Fatalf("after %s %s", path, body)
		}
	}
}
