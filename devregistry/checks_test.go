package devregistry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
)

// until asks by blocking queries until a service's checks are as a test wants them.
func until(t *testing.T, c *api.Client, service string, fit func(api.HealthChecks) bool) {
	t.Helper()
	var index uint64
	for {
		checks, meta, err := c.Health().Checks(service, (&api.QueryOptions{WaitIndex: index, WaitTime: time.Minute}).WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if fit(checks) {
			return
		}
		index = meta.LastIndex
	}
}

func status(want string) func(api.HealthChecks) bool {
	return func(checks api.HealthChecks) bool { return checks.AggregatedStatus() == want && len(checks) > 0 }
}

func TestRegistryChecksByItself(t *testing.T) {
	var answer atomic.Int32
	answer.Store(http.StatusOK)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(answer.Load())) }))
	defer web.Close()
	_, c := serve(t)
	register(t, c, "web-1",
		&api.AgentServiceCheck{CheckID: "http", HTTP: web.URL, Interval: "1s", Timeout: "5s"},
		&api.AgentServiceCheck{CheckID: "tcp", TCP: strings.TrimPrefix(web.URL, "http://"), Interval: "1s"})
	until(t, c, "web", status(api.HealthPassing))
	answer.Store(http.StatusTooManyRequests)
	until(t, c, "web", status(api.HealthWarning))
	answer.Store(http.StatusBadGateway)
	until(t, c, "web", status(api.HealthCritical))
	checks, _, err := c.Health().Checks("web", nil)
	check0(t, err)
	if h := checks[0]; h.Type != "http" || !strings.Contains(h.Output, "502 Bad Gateway") || h.Definition.HTTP != web.URL || h.Definition.IntervalDuration != time.Second {
		t.Errorf("the check: %+v", h)
	}
}

func TestNothingListensWhereTheCheckAsks(t *testing.T) {
	r, c := serve(t)
	register(t, c, "web-1", &api.AgentServiceCheck{CheckID: "g", GRPC: "127.0.0.1:1", Interval: "10s", Status: api.HealthPassing, DeregisterCriticalServiceAfter: "1ms"})
	until(t, c, "web", func(checks api.HealthChecks) bool { return len(checks) == 0 })
	if services, checks := sizes(r); services+checks > 0 {
		t.Errorf("%d services, %d checks", services, checks)
	}
}

// TestChecksReach: who registers a check makes the registry send a request. It
// goes to this machine, and to containers, and a container's goes to containers
// alone.
func TestChecksReach(t *testing.T) {
	bridge := netip.MustParsePrefix("172.30.0.0/24")
	r, err := New(Config{Containers: func() []netip.Prefix { return []netip.Prefix{bridge} }})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, at, target string
		status           int
	}{
		{"127.0.0.1:9", "127.0.0.1:8500", "127.0.0.1:80", 200},
		{"[::1]:9", "[::1]:8500", "localhost:80", 200},
		{"127.0.0.1:9", "127.0.0.1:8500", "172.30.0.2:80", 200},
		{"127.0.0.1:9", "127.0.0.1:8500", "169.254.169.254:80", 400},
		{"127.0.0.1:9", "127.0.0.1:8500", "172.31.0.2:80", 400},
		{"172.30.0.1:9", "172.30.0.1:8500", "127.0.0.1:80", 200}, // a process of this machine, by the bridge's address
		{"172.30.0.2:9", "172.30.0.1:8500", "172.30.0.2:80", 200},
		{"172.30.0.2:9", "172.30.0.1:8500", "127.0.0.1:80", 400},
		{"172.30.0.2:9", "172.30.0.1:8500", "[::1]:80", 400},
		{"203.0.113.9:9", "203.0.113.1:8500", "127.0.0.1:80", 400}, // should it ever listen there
		{"nowhere", "127.0.0.1:8500", "127.0.0.1:80", 400},
	} {
		for _, check := range []string{`"HTTP":"http://%s/"`, `"TCP":"%s"`, `"GRPC":"%s/service"`} {
			body := fmt.Sprintf(`{"Name":"a","Check":{"Interval":"10s",`+check+`}}`, tt.target)
			req := httptest.NewRequest(http.MethodPut, "/v1/agent/service/register", strings.NewReader(body))
			req.RemoteAddr = tt.from
			req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.at))))
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, req)
			if w.Code != tt.status || w.Code == 400 && !strings.Contains(w.Body.String(), "out of reach") {
				t.Errorf("%s to %s: %s: %d %s, want %d", tt.from, tt.at, body, w.Code, w.Body, tt.status)
			}
		}
	}
}

func TestStatusFollowsWhenEnoughProbesAgree(t *testing.T) {
	c := &check{definition: checkDefinition{SuccessBeforePassing: 2, FailuresBeforeWarning: 2, FailuresBeforeCritical: 3}}
	for i, step := range []struct {
		found  probe.Status
		status string // "": as it was
	}{
		{probe.Passing, ""}, {probe.Passing, "passing"}, {probe.Critical, ""}, {probe.Passing, ""}, {probe.Critical, ""},
		{probe.Critical, "warning"}, {probe.Critical, "critical"}, {probe.Warning, ""}, {probe.Warning, "warning"}, {probe.Passing, "passing"},
	} {
		if status, enough := c.judge(step.found); enough != (step.status != "") || enough && status != step.status {
			t.Errorf("step %d, %s: %q %v, want %q", i, step.found, status, enough, step.status)
		}
	}
	at := &check{}
	if status, enough := at.judge(probe.Critical); status != statusCritical || !enough {
		t.Errorf("without thresholds: %q %v", status, enough)
	}
}

// TestProbesKeepTheirIntervals also across a registration of the same check.
func TestProbesKeepTheirIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		// Inside the bubble a connection is refused at once: Reach has nothing.
		put := func() {
			d := checkDefinition{TCP: "127.0.0.1:1", Interval: duration(10 * time.Second)}
			c := &check{id: "tcp", kind: "tcp", serviceID: "cart-1", serviceName: "cart", status: statusPassing,
				definition: d, target: d.target(probe.Reach{}), interval: 10 * time.Second}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.addService(&service{Instance: cart("cart-1"), weights: defaultWeights}, []*check{c}, false)
		}
		put()
		run(t, r)
		synctest.Wait()
		if passingNow(r) != 0 {
			t.Fatal("not asked at once")
		}
		asked := failures(r)
		for range 4 {
			time.Sleep(time.Second)
			put()
		}
		if synctest.Wait(); failures(r) != asked {
			t.Errorf("asked %d times in four seconds", failures(r))
		}
		time.Sleep(7500 * time.Millisecond) // the interval with its tenth
		if synctest.Wait(); failures(r) != asked+1 {
			t.Errorf("asked %d times in 11.5 seconds, want twice", failures(r))
		}
	})
}

func failures(r *Registry) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.checks["tcp"].failures
}

// TestChecksAtOnce: as many as wait are made in turn, and no more than the bound
// at a time.
func TestChecksAtOnce(t *testing.T) {
	const many = 4 * maxProbes
	var under, most, made atomic.Int32
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		now := under.Add(1)
		for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
		}
		if made.Add(1) == maxProbes {
			close(release)
		}
		<-release
		under.Add(-1)
	}))
	defer web.Close()
	_, c := serve(t)
	for i := range many {
		register(t, c, fmt.Sprint("web-", i), &api.AgentServiceCheck{HTTP: web.URL, Interval: "1h"})
	}
	until(t, c, "web", func(checks api.HealthChecks) bool {
		return len(checks) == many && checks.AggregatedStatus() == api.HealthPassing
	})
	if n := most.Load(); n != maxProbes {
		t.Errorf("%d at once, want %d", n, maxProbes)
	}
}

func TestMaintenance(t *testing.T) {
	r, c := serve(t)
	register(t, c, "web-1")
	r.Register(cart("cart-1"))
	check0(t, c.Agent().EnableServiceMaintenance("web-1", "a new disk"))
	checks, _, err := c.Health().Checks("web", nil)
	check0(t, err)
	if len(checks) != 1 || checks[0].CheckID != api.ServiceMaintPrefix+"web-1" || checks[0].Notes != "a new disk" || checks.AggregatedStatus() != api.HealthMaint {
		t.Errorf("checks: %+v", checks)
	}
	register(t, c, "web-1") // which does not end it
	if entries, _, _ := c.Health().Service("web", "", true, nil); len(entries) != 0 {
		t.Error("passing under maintenance")
	}
	if got := r.Against("web-1"); len(got) != 1 || got[0] != "it is in maintenance mode in the registry: a new disk" {
		t.Errorf("what is against it: %q", got)
	}
	check0(t, c.Agent().DisableServiceMaintenance("web-1"))
	if entries, _, _ := c.Health().Service("web", "", true, nil); len(entries) != 1 {
		t.Error("not passing after maintenance")
	}
	check0(t, c.Agent().EnableNodeMaintenance(""))
	if entries, _, _ := c.Health().Service("cart", "", true, nil); len(entries) != 0 {
		t.Error("passing while the node is under maintenance")
	}
	if len(r.Passing("cart")) != 1 {
		t.Error("a check of the node, which anybody may register, takes mesh's own requests away")
	}
	check0(t, c.Agent().DisableNodeMaintenance())
	if entries, _, _ := c.Health().Service("cart", "", true, nil); len(entries) != 1 {
		t.Error("not passing after the node's maintenance")
	}
}

// TestInstancesOfMeshAreMeshs: nobody else takes them away, or takes their name.
func TestInstancesOfMeshAreMeshs(t *testing.T) {
	r, c := serve(t)
	r.Register(cart("cart-1"))
	for name, err := range map[string]error{
		"deregister": c.Agent().ServiceDeregister("cart-1"),
		"register":   c.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "cart-1", Name: "cart", Port: 1}),
	} {
		if err == nil || !strings.Contains(err.Error(), "run and registered by mesh") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := r.Passing("cart"); len(got) != 1 || got[0].Port != cart("cart-1").Port {
		t.Errorf("%+v", got)
	}
	// A name that somebody took before is mesh's, and free of their checks.
	check0(t, c.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "cart-2", Name: "cart", Port: 1, Check: &api.AgentServiceCheck{TTL: "1h"}}))
	r.Register(cart("cart-2"))
	if got := r.Passing("cart"); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

// TestChecksOfMeshAreMeshs: nobody removes, replaces or reports them, or has one ready
// before mesh has.
func TestChecksOfMeshAreMeshs(t *testing.T) {
	r := fresh(t)
	r.Register(cart("cart-1"))
	for _, tt := range []struct {
		path, body string
		want       int
	}{
		{"check/deregister/mesh:cart-1", "", http.StatusForbidden},
		{"check/register", `{"ID":"mesh:cart-1","Name":"x","TTL":"1s"}`, http.StatusForbidden},
		{"check/register", `{"ID":"mesh:cart-2","Name":"x","TTL":"1s"}`, http.StatusForbidden},
		{"check/register", `{"Name":"mesh:cart-1","ServiceID":"cart-1","TTL":"1s"}`, http.StatusForbidden},
		{"service/register", `{"Name":"x","Check":{"CheckID":"mesh:cart-1","TTL":"1s"}}`, http.StatusForbidden},
		{"service/register", `{"Name":"x","Checks":[{"ID":"mesh:cart-2","TTL":"1s"}]}`, http.StatusForbidden},
		{"check/pass/mesh:cart-1", "", http.StatusInternalServerError},
		{"check/fail/mesh:cart-1", "", http.StatusInternalServerError},
		{"check/update/mesh:cart-1", `{"Status":"critical"}`, http.StatusInternalServerError},
	} {
		if code, said := putTo(r, "/v1/agent/"+tt.path, tt.body); code != tt.want {
			t.Errorf("%s %s: %d %s, want %d", tt.path, tt.body, code, said, tt.want)
		}
	}
	r.Register(cart("cart-2"))
	if services, checks := sizes(r); services != 2 || checks != 2 || len(r.Passing("cart")) != 2 {
		t.Errorf("%d services, %d checks, passing: %v", services, checks, r.Passing("cart"))
	}
}

// TestInstancesOfMeshAreNotReaped: a check of somebody else's keeps requests from one,
// and no longer than it is there.
func TestInstancesOfMeshAreNotReaped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := fresh(t)
		defer served(t, r)()
		r.Register(cart("cart-1"))
		for _, body := range []string{
			`{"ID":"kill","Name":"kill","ServiceID":"cart-1","TTL":"1s","DeregisterCriticalServiceAfter":"1s"}`,
			`{"ID":"kill","Name":"kill","ServiceID":"cart-1","TTL":"1h","Status":"critical","DeregisterCriticalServiceAfter":"1s"}`,
		} {
			if code, said := putTo(r, "/v1/agent/check/register", body); code != http.StatusOK {
				t.Fatal(said)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if services, checks := sizes(r); services != 1 || checks != 2 || len(r.Passing("cart")) != 0 {
				t.Errorf("%d services, %d checks, passing: %v", services, checks, r.Passing("cart"))
			}
			if code, said := putTo(r, "/v1/agent/check/deregister/kill", ""); code != http.StatusOK || len(r.Passing("cart")) != 1 {
				t.Errorf("when the check has gone: %d %s, passing: %v", code, said, r.Passing("cart"))
			}
		}
	})
}

// putTo sends a registry a request, and returns the status and the words of its answer.
func putTo(r *Registry, path, body string) (int, string) {
	w := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPut, path, strings.NewReader(body))
	request.RemoteAddr = "127.0.0.1:1"
	r.Handler().ServeHTTP(w, request)
	return w.Code, w.Body.String()
}

// TestServiceMeshIsRefused: who registers a sidecar is told that there will be none.
func TestServiceMeshIsRefused(t *testing.T) {
	r := fresh(t)
	for body, want := range map[string]int{
		`{"Name":"sc","Connect":{"SidecarService":{}}}`:              http.StatusNotImplemented,
		`{"Name":"sc","connect":{"native":true}}`:                    http.StatusNotImplemented,
		`{"Name":"sc","Proxy":{"DestinationServiceName":"web"}}`:     http.StatusNotImplemented,
		`{"Name":"sc","Proxy":{},"Connect":{"SidecarService":null}}`: http.StatusOK,
		`{"Name":"sc","Proxy":null,"Connect":null}`:                  http.StatusOK,
	} {
		if code, said := putTo(r, "/v1/agent/service/register", body); code != want {
			t.Errorf("%s: %d %s, want %d", body, code, said, want)
		}
	}
}

func TestCheckThatMovesToAnotherService(t *testing.T) {
	r, c := serve(t)
	register(t, c, "web-1", &api.AgentServiceCheck{CheckID: "x", TTL: "1h"})
	r.Register(cart("cart-1"))
	before := r.indexOf(ofService + "web")
	check0(t, c.Agent().CheckRegister(&api.AgentCheckRegistration{ID: "x", Name: "x", ServiceID: "cart-1", AgentServiceCheck: api.AgentServiceCheck{TTL: "1h"}}))
	if len(r.Passing("web")) != 1 || len(r.Passing("cart")) != 0 || r.indexOf(ofService+"web") <= before {
		t.Errorf("passing: %v, %v", r.Passing("web"), r.Passing("cart"))
	}
}
