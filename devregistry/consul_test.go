package devregistry

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// serve runs the registry behind a real listener and returns Consul's own
// client for it.
func serve(t *testing.T) (*Registry, *api.Client) {
	t.Helper()
	r := fresh(t)
	ended := served(t, r)
	server := httptest.NewServer(r.Handler())
	transport := &http.Transport{}
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
		ended()
	})
	client, err := api.NewClient(&api.Config{Address: server.URL, HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return r, client
}

// served runs a registry until the function that it returns is called.
func served(t *testing.T, r *Registry) (ended func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var owner sync.WaitGroup
	owner.Go(func() { check0(t, r.Run(ctx)) })
	return func() {
		cancel()
		owner.Wait()
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check0(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func register(t *testing.T, c *api.Client, id string, checks ...*api.AgentServiceCheck) {
	t.Helper()
	check0(t, c.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: "web", Tags: []string{"v1", id}, Port: 8000, Address: "127.0.0.9",
		Meta: map[string]string{"team": "a"}, Checks: checks,
	}))
}

func TestConsulClientRegistersAndFinds(t *testing.T) {
	_, c := serve(t)
	register(t, c, "web-1")
	register(t, c, "web-2")
	all := must[map[string]*api.AgentService](t)(c.Agent().Services())
	if len(all) != 2 || all["web-1"].Port != 8000 || all["web-1"].Meta["team"] != "a" {
		t.Errorf("agent services: %+v", all)
	}
	one, _, err := c.Agent().Service("web-2", nil)
	check0(t, err)
	if one.Service != "web" || one.Address != "127.0.0.9" || one.ContentHash == "" {
		t.Errorf("agent service: %+v", one)
	}
	found, meta, err := c.Catalog().Service("web", "web-1", nil)
	check0(t, err)
	if len(found) != 1 || found[0].ServiceID != "web-1" || found[0].Address != "127.0.0.1" || meta.LastIndex == 0 {
		t.Errorf("catalog service with a tag: %+v", found)
	}
	names, _, err := c.Catalog().Services(nil)
	check0(t, err)
	if got := strings.Join(names["web"], ","); got != "v1,web-1,web-2" {
		t.Errorf("tags of web = %q", got)
	}
	check0(t, c.Agent().ServiceDeregister("web-1"))
	if found, _, _ := c.Catalog().Service("web", "", nil); len(found) != 1 {
		t.Errorf("after deregistering: %d instances", len(found))
	}
}

func TestConsulClientSeesWhatMeshRuns(t *testing.T) {
	r, c := serve(t)
	r.Register(cart("cart-1"))
	entries, _, err := c.Health().Service("cart", "v1", true, nil)
	check0(t, err)
	if len(entries) != 1 || entries[0].Service.Port != 9000 || entries[0].Checks.AggregatedStatus() != "passing" {
		t.Errorf("health of what mesh runs: %+v", entries)
	}
}

func TestConsulClientHealth(t *testing.T) {
	_, c := serve(t)
	register(t, c, "web-1", &api.AgentServiceCheck{CheckID: "alive", TTL: "1h"})
	if entries, _, _ := c.Health().Service("web", "", true, nil); len(entries) != 0 {
		t.Error("a TTL check passes before it was reported")
	}
	check0(t, c.Agent().PassTTL("alive", "fine"))
	entries, _, err := c.Health().Service("web", "", true, nil)
	check0(t, err)
	if len(entries) != 1 || entries[0].Checks[0].Output != "fine" {
		t.Errorf("after pass: %+v", entries)
	}
	check0(t, c.Agent().WarnTTL("alive", "hm"))
	if checks, _, _ := c.Health().State("warning", nil); len(checks) != 1 {
		t.Errorf("warning checks: %+v", checks)
	}
	check0(t, c.Agent().UpdateTTL("alive", "gone", "fail"))
	status, info, err := c.Agent().AgentHealthServiceByID("web-1")
	check0(t, err)
	if status != api.HealthCritical || info.Service.ID != "web-1" {
		t.Errorf("agent health: %s %+v", status, info)
	}
	if checks, _, _ := c.Health().Checks("web", nil); len(checks) != 1 || checks[0].Status != "critical" {
		t.Errorf("checks of web: %+v", checks)
	}
	if checks, _, _ := c.Health().Node("mesh", nil); len(checks) != 1 {
		t.Errorf("checks of the node: %+v", checks)
	}
}

func TestConsulClientChecks(t *testing.T) {
	_, c := serve(t)
	register(t, c, "web-1")
	check0(t, c.Agent().CheckRegister(&api.AgentCheckRegistration{
		ID: "extra", Name: "extra", ServiceID: "web-1",
		AgentServiceCheck: api.AgentServiceCheck{TTL: "1h", Status: "critical"},
	}))
	if entries, _, _ := c.Health().Service("web", "", true, nil); len(entries) != 0 {
		t.Error("passing in spite of a critical check")
	}
	if checks := must[map[string]*api.AgentCheck](t)(c.Agent().Checks()); checks["extra"].ServiceName != "web" {
		t.Errorf("agent checks: %+v", checks["extra"])
	}
	check0(t, c.Agent().CheckDeregister("extra"))
	if entries, _, _ := c.Health().Service("web", "", true, nil); len(entries) != 1 {
		t.Error("not passing after its critical check went")
	}
}

func TestReRegisteringKeepsTheStatus(t *testing.T) {
	_, c := serve(t)
	ttl := &api.AgentServiceCheck{CheckID: "alive", TTL: "1h"}
	register(t, c, "web-1", ttl)
	check0(t, c.Agent().PassTTL("alive", ""))
	_, before, _ := c.Health().Service("web", "", true, nil)
	register(t, c, "web-1", ttl)
	entries, after, _ := c.Health().Service("web", "", true, nil)
	if len(entries) != 1 || after.LastIndex != before.LastIndex {
		t.Errorf("%d passing, index %d, was %d", len(entries), after.LastIndex, before.LastIndex)
	}
}

func TestConsulClientNode(t *testing.T) {
	_, c := serve(t)
	self := must[map[string]map[string]any](t)(c.Agent().Self())
	if self["Config"]["Datacenter"] != "dc1" || must[string](t)(c.Agent().NodeName()) != "mesh" {
		t.Errorf("self: %v", self)
	}
	if dcs := must[[]string](t)(c.Catalog().Datacenters()); len(dcs) != 1 {
		t.Errorf("datacenters: %v", dcs)
	}
	nodes, _, err := c.Catalog().Nodes(nil)
	check0(t, err)
	n, _, err := c.Catalog().Node("mesh", nil)
	check0(t, err)
	if len(nodes) != 1 || n.Node.Node != "mesh" {
		t.Errorf("nodes: %v, node: %v", nodes, n)
	}
	if gone, _, err := c.Catalog().Node("other", nil); err != nil || gone != nil {
		t.Errorf("unknown node: %v, %v", gone, err)
	}
	if leader := must[string](t)(c.Status().Leader()); leader == "" {
		t.Error("no leader")
	}
}

func TestBlockingQueryEndsWithItsWait(t *testing.T) {
	_, c := serve(t)
	register(t, c, "web-1")
	_, meta, err := c.Catalog().Service("web", "", nil)
	check0(t, err)
	_, again, err := c.Catalog().Service("web", "", &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 20 * time.Millisecond})
	check0(t, err)
	if again.LastIndex != meta.LastIndex {
		t.Errorf("index %d, want %d", again.LastIndex, meta.LastIndex)
	}
}

func TestAnswersToWhatIsWrong(t *testing.T) {
	r := fresh(t)
	handler := r.Handler()
	for _, tt := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/v1/agent/service/none", "", 404, "unknown service ID: none"},
		{"PUT", "/v1/agent/service/deregister/none", "", 404, "Unknown service ID"},
		{"PUT", "/v1/agent/check/pass/none", "", 404, "Unknown check ID"},
		{"GET", "/v1/agent/service/register", "", 405, "method GET not allowed"},
		{"POST", "/v1/catalog/services", "", 405, "method POST not allowed"},
		{"GET", "/v1/health/service/", "", 400, "Missing service name"},
		{"GET", "/v1/catalog/service/?tag=a", "", 400, "Missing service name"},
		{"POST", "/v1/catalog/service/", "", 405, "method POST not allowed"},
		{"GET", "/v1/health/checks/", "", 400, "Missing service name"},
		{"GET", "/v1/health/node/", "", 400, "Missing node name"},
		{"GET", "/v1/health/state/", "", 400, "Missing check state"},
		{"GET", "/v1/catalog/node/", "", 400, "Missing node name"},
		{"PUT", "/v1/session/renew/", "", 400, "Missing session"},
		{"GET", "/v1/nonsense", "", 404, "Invalid URL path"},
		{"GET", "/v1/query/a", "", 501, "it has no prepared queries"},
		{"PUT", "/v1/catalog/register", "{}", 501, "it has one node"},
		{"GET", "/v1/agent/metrics", "", 501, "mesh metrics"},
		{"PUT", "/v1/agent/maintenance", "", 400, "Missing value for enable"},
		{"PUT", "/v1/agent/service/maintenance/none?enable=true", "", 404, "Unknown service ID"},
		{"GET", "/v1/catalog/services?index=x", "", 400, "Invalid index"},
		{"GET", "/v1/catalog/services?index=1&wait=x", "", 400, "Invalid wait time"},
		{"GET", "/v1/catalog/services?dc=elsewhere", "", 500, "No path to datacenter"},
		{"GET", "/v1/health/service/a?passing=x", "", 400, "Invalid value for ?passing"},
		{"GET", "/v1/health/state/x", "", 400, "Invalid check state"},
		{"PUT", "/v1/agent/service/register", "{", 400, "Request decode failed"},
		{"PUT", "/v1/agent/service/register", "{}", 400, "Missing service name"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Port":70000}`, 400, "out of range"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Address":"0.0.0.0"}`, 400, "Invalid service address"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"Args":["id"],"Interval":"1s"}}`, 501, "runs no commands"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"UDP":"127.0.0.1:1","Interval":"1s"}}`, 501, "UDP checks are not implemented"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"HTTP":"http://127.0.0.1"}}`, 400, "Interval must be > 0"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"HTTP":"file:///etc/passwd","Interval":"1s"}}`, 400, "no http or https URL"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"TCP":"127.0.0.1","Interval":"1s"}}`, 400, "missing port"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"TTL":"1s","FailuresBeforeWarning":2}}`, 400, "can't be higher"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"TTL":"x"}}`, 400, "Request decode failed"},
		{"PUT", "/v1/agent/service/register", `{"Name":"a","Check":{"TTL":"1s","Status":"x"}}`, 400, "Bad check status"},
		{"PUT", "/v1/agent/service/register", `{"Name":"` + strings.Repeat("a", maxBody) + `"}`, 413, "too large"},
		{"PUT", "/v1/agent/check/register", `{"Name":"a","ServiceID":"none","TTL":"1s"}`, 404, "does not exist"},
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
		body, _ := io.ReadAll(w.Body)
		if w.Code != tt.status || !strings.Contains(string(body), tt.text) {
			t.Errorf("%s %s: %d %s; want %d %s", tt.method, tt.path, w.Code, body, tt.status, tt.text)
		}
	}
	if len(r.services) != 0 {
		t.Errorf("a refused registration left something: %v", r.services)
	}
}

// A page of another origin registers nothing and writes no key; who is no browser
// goes on as before.
func TestRegistryIsNotForPages(t *testing.T) {
	handler := fresh(t).Handler()
	for _, tt := range []struct {
		method, path string
		header       []string
		status       int
	}{
		{"PUT", "/v1/agent/service/register", []string{"Origin", "http://evil.example"}, 403},
		{"PUT", "/v1/agent/service/register", []string{"Origin", "null"}, 403},
		{"PUT", "/v1/kv/a//b", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", "/v1/txn", []string{"Origin", "http://localhost:1"}, 403}, // which no preflight asks for
		{"PUT", "/v1/kv/a", nil, 200},
		{"PUT", "/v1/kv/a", []string{"Origin", "http://example.com"}, 200}, // httptest's host
		{"GET", "/v1/kv/a", []string{"Sec-Fetch-Site", "cross-site"}, 200}, // a browser reads it to nobody
	} {
		req := httptest.NewRequest(tt.method, tt.path, strings.NewReader("{}"))
		if len(tt.header) > 0 {
			req.Header.Set(tt.header[0], tt.header[1])
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		if w.Code != tt.status || w.Code == 403 && !strings.Contains(w.Body.String(), "another origin") {
			t.Errorf("%s %s of %v: %d %s, want %d", tt.method, tt.path, tt.header, w.Code, w.Body, tt.status)
		}
	}
}

func FuzzRegistrationBody(f *testing.F) {
	f.Add(`{"Name":"web","Check":{"TTL":"10s","DeregisterCriticalServiceAfter":"1m"}}`)
	f.Add(`{"name":"web","checks":[{"ttl":1},{"ttl":"1h"}],"weights":{"passing":1}}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := fresh(t)
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/agent/service/register", strings.NewReader(body)))
		if (w.Code == 200) != (len(r.services) == 1) {
			t.Errorf("status %d with %d services", w.Code, len(r.services))
		}
		consistent(t, r)
	})
}

// TestOptions: who asks is told the methods of a path.
func TestOptions(t *testing.T) {
	h := fresh(t).Handler()
	for path, allow := range map[string]string{
		"/v1/catalog/services":       "OPTIONS,GET",
		"/v1/health/service/web":     "OPTIONS,GET",
		"/v1/kv/a//b":                "OPTIONS,DELETE,GET,PUT",
		"/v1/agent/service/register": "OPTIONS,PUT",
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodOptions, path, nil))
		if w.Code != 200 || w.Header().Get("Allow") != allow || w.Body.Len() > 0 {
			t.Errorf("%s: %d, Allow %q, %q; want %q", path, w.Code, w.Header().Get("Allow"), w.Body, allow)
		}
	}
}
