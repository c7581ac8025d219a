package devregistry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

func TestFilters(t *testing.T) {
	r, c := serve(t)
	register(t, c, "web-1", &api.AgentServiceCheck{CheckID: "alive", TTL: "1h", Status: "warning"})
	check0(t, c.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "web-2", Name: "web", Tags: []string{"v2"}, Port: 9000, Meta: map[string]string{"team": "b"}}))
	r.Register(cart("cart-1"))
	h := r.Handler()
	for _, tt := range []struct{ path, with, without string }{
		{`agent/services?filter=Meta.team == "a"`, `"web-1":`, `"web-2":`},
		{`agent/services?filter=Service matches "^ca"`, `"cart-1":`, `"web-1":`},
		{`agent/services?filter=(((((ID == "web-1" and Port == 8000)))))`, `"web-1":`, `"web-2":`},
		{`agent/checks?filter=Status == warning`, `"alive":`, `"mesh:cart-1":`},
		{`agent/members?filter=Name == mesh`, `"Name":"mesh"`, `[]`},
		{`catalog/nodes?filter=Node == other`, `[]`, `mesh`},
		{`catalog/services?filter=v2 in ServiceTags`, `{"web":["v2"]}`, `cart`},
		{`catalog/services?filter=v1 not in ServiceTags and ServicePort != 80`, `{"web":["v2"]}`, `cart`},
		{`catalog/service/web?filter=ServiceMeta.team != a`, `"ServiceID":"web-2"`, `"web-1"`},
		{`catalog/node/mesh?filter=Port == 9000 and Service == web`, `"web-2"`, `"cart-1"`},
		{`catalog/node-services/mesh?filter=ID == "cart-1"`, `"cart-1"`, `"web-1"`},
		{`health/service/web?filter=Service.Port == 8000`, `"ID":"web-1"`, `"ID":"web-2"`},
		{`health/service/web?filter=any Checks as c { c.Status == "warning" }`, `"ID":"web-1"`, `"ID":"web-2"`},
		{`health/service/web?filter=Checks is empty`, `"ID":"web-2"`, `"ID":"web-1"`},
		{`health/checks/web?filter=Output is not empty`, `[]`, `alive`},
		{`health/node/mesh?filter=CheckID == alive`, `"alive"`, `"mesh:cart-1"`},
		{`health/state/any?filter=ServiceName == "cart"`, `"mesh:cart-1"`, `"alive"`},
	} {
		code, body := ask(h, tt.path)
		if code != 200 || !strings.Contains(body, tt.with) || strings.Contains(body, tt.without) {
			t.Errorf("%s: %d %s; want %s without %s", tt.path, code, body, tt.with, tt.without)
		}
	}
}

// ask gets a path whose filter is written plainly.
func ask(h http.Handler, path string) (code int, body string) {
	path, expression, _ := strings.Cut(path, "filter=")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/"+path+"filter="+url.QueryEscape(expression), nil))
	return w.Code, w.Body.String()
}

func TestFiltersThatAreRefused(t *testing.T) {
	h := fresh(t).Handler()
	for expression, text := range map[string]string{
		`Port >`:                        "Failed to create filter: 1:6",
		`Nope == 1`:                     `Failed to filter`,
		`ID.x == 1`:                     "Failed to filter",
		`ID matches "["`:                "regular expression",
		`ID == "a" and Nope == 1`:       "there is no Nope",
		`any Tags as t { t.x == 1 }`:    "there is no x in a string",
		`all Meta as k, v { w == 1 }`:   "there is no w",
		`TaggedAddresses.lan.Nope == 1`: "there is no Nope",
		`Proxy.Upstreams.Nope == 1`:     "there is no Nope",
		`any ID as x { x == 1 }`:        "not a list or a map",
		`any Tags as t, t { t == 1 }`:   "name of both",
		`Port == x`:                     "invalid syntax",
		`80 in Port`:                    "in/contains operations",
		strings.Repeat("(", 30) + "ID == a" + strings.Repeat(")", 30):         "nested too deeply",
		"ID == a" + strings.Repeat(" and ID == b", 400):                       "longer than",
		strings.Repeat("not ", 1000) + "ID == a or " + strings.Repeat("(", 9): "Failed to create filter",
	} {
		if code, body := ask(h, "agent/services?filter="+expression); code != 400 || !strings.Contains(body, text) {
			t.Errorf("%.60s: %d %s, want 400 with %q", expression, code, body, text)
		}
	}
	if code, body := ask(h, "agent/self?filter=ID == a"); code != 400 || !strings.Contains(body, "takes none") {
		t.Errorf("where there is nothing to filter: %d %s", code, body)
	}
}

// FuzzFilter: an expression is refused or holds for the same items each time, and
// its opposite for the others.
func FuzzFilter(f *testing.F) {
	for _, expression := range []string{`Service == "web"`, `v1 in Tags`, `Meta.team != a and not (Port == 80 or Tags is empty)`,
		`any Tags as t { t == "v1" }`, `Proxy.Upstreams.LocalBindPort == 1 or TaggedAddresses.lan.Port != 1`, `all Tags as i, t { i == 0 and any Meta as k { k in t } }`, `all Meta as k, v { v matches "^a" }`, `"/Meta/team" == "a"`, "ID == `x`", `Meta["a b"] is empty`} {
		f.Add(expression)
	}
	r := fresh(f)
	for i := range 3 {
		r.Register(Instance{ID: fmt.Sprint("web-", i), Service: "web", Port: i, Tags: []string{fmt.Sprint("v", i)}, Meta: map[string]string{"team": "a"}})
	}
	f.Fuzz(func(t *testing.T, expression string) {
		of, err := newFilter(expression)
		if of == nil || err != nil {
			return
		}
		all, _ := r.agentServices(nil)
		first, err := of.sift(all)
		if again, err2 := of.sift(all); (err == nil) != (err2 == nil) || err == nil && len(first.(table[agentService])) != len(again.(table[agentService])) {
			t.Errorf("%q: %v, %v, then %v, %v", expression, first, err, again, err2)
		}
	})
}
