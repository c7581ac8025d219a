package devregistry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// What Consul's API documentation lets be done with each kind of selector.
var operations = map[string][]string{
	"text":   {`%s == "x"`, `%s != "x"`, `x in %s`, `x not in %s`, `%s contains x`, `%s not contains x`, `%s matches "^x"`, `%s not matches "^x"`},
	"number": {`%s == 8000`, `%s != 8000`},
	"flag":   {`%s == true`, `%s != true`},
	"list":   {`x in %s`, `x not in %s`, `%s is empty`, `%s is not empty`},
	"parts":  {`%s is empty`, `%s is not empty`},
}

var proxySelectors = map[string]string{
	"text": "DestinationServiceID DestinationServiceName LocalServiceAddress Mode MeshGateway.Mode Upstreams.Datacenter Upstreams.DestinationName " +
		"Upstreams.DestinationNamespace Upstreams.DestinationType Upstreams.LocalBindAddress Upstreams.MeshGateway.Mode Expose.Paths.Path Expose.Paths.Protocol",
	"number": "LocalServicePort TransparentProxy.OutboundListenerPort Upstreams.LocalBindPort Expose.Paths.ListenerPort Expose.Paths.LocalPathPort",
	"flag":   "Expose.Checks Expose.Paths.ParsedFromCheck",
	"parts":  "Upstreams Expose.Paths",
}

var serviceSelectors = map[string]string{
	"text":   "Address ID Kind Meta.x Service SocketPath TaggedAddresses.lan.Address PeerName",
	"number": "Port TaggedAddresses.lan.Port Weights.Passing Weights.Warning",
	"flag":   "Connect.Native EnableTagOverride",
	"list":   "Meta TaggedAddresses Tags",
}

var checkSelectors = map[string]string{
	"text": "CheckID Name Node Notes Output ServiceID ServiceName Status Type PeerName",
	"list": "ServiceTags",
}

var nodeSelectors = map[string]string{
	"text": "Address Datacenter ID Meta.x Node TaggedAddresses.lan TaggedAddresses.x PeerName",
	"list": "Meta TaggedAddresses",
}

var entrySelectors = map[string]string{
	"text": "Address Datacenter ID Node NodeMeta.x ServiceAddress ServiceID ServiceKind ServiceMeta.x ServiceName " +
		"ServiceTaggedAddresses.lan.Address TaggedAddresses.lan ServiceSocketPath PeerName",
	"number": "ServicePort ServiceTaggedAddresses.lan.Port ServiceWeights.Passing ServiceWeights.Warning",
	"flag":   "ServiceConnect.Native ServiceEnableTagOverride",
	"list":   "NodeMeta ServiceMeta ServiceTaggedAddresses ServiceTags TaggedAddresses",
}

// TestConsulsSelectors: every selector of Consul's documentation is taken with every
// operation that stands there, whether something is registered or not.
func TestConsulsSelectors(t *testing.T) {
	empty := fresh(t).Handler()
	r, c := serve(t)
	register(t, c, "web-1", &api.AgentServiceCheck{CheckID: "alive", TTL: "1h", Status: "warning"})
	full := r.Handler()
	for _, tt := range []struct {
		paths, prefix string
		selectors     map[string]string
	}{
		{"agent/services catalog/node-services/mesh", "", serviceSelectors},
		{"agent/services", "Proxy.", proxySelectors},
		{"agent/checks health/node/mesh health/checks/web health/state/any", "", checkSelectors},
		{"catalog/nodes", "", nodeSelectors},
		{"catalog/services catalog/service/web", "", entrySelectors},
		{"catalog/service/web", "ServiceProxy.", proxySelectors},
		{"health/service/web", "Node.", nodeSelectors},
		{"health/service/web", "Service.", serviceSelectors},
		{"health/service/web", "Service.Proxy.", proxySelectors},
		{"health/service/web", "Checks.", checkSelectors},
		{"health/service/web", "", map[string]string{"parts": "Checks"}},
	} {
		for kind, selectors := range tt.selectors {
			for _, expression := range expressions(kind, tt.prefix, selectors) {
				for path := range strings.FieldsSeq(tt.paths) {
					if code, body := ask(empty, path+"?filter="+expression); code != 200 {
						t.Errorf("%s with nothing there: %s: %d %s", path, expression, code, body)
					}
					if code, body := ask(full, path+"?filter="+expression); code != 200 {
						t.Errorf("%s: %s: %d %s", path, expression, code, body)
					}
				}
			}
		}
	}
}

func expressions(kind, prefix, selectors string) (all []string) {
	for selector := range strings.FieldsSeq(selectors) {
		for _, operation := range operations[kind] {
			all = append(all, fmt.Sprintf(operation, prefix+selector))
		}
	}
	return all
}

// TestSelectorsThroughLists: a comparison holds when it does for any element, as in
// Consul, so that it and its opposite may both hold; not turns the whole around.
func TestSelectorsThroughLists(t *testing.T) {
	_, c := serve(t)
	for id, states := range map[string][]string{"none": nil, "good": {"passing"}, "mixed": {"passing", "critical"}, "bad": {"critical"}} {
		service := &api.AgentServiceRegistration{ID: id, Name: "web", Tags: []string{id + "-tag"}}
		for _, state := range states {
			service.Checks = append(service.Checks, &api.AgentServiceCheck{CheckID: id + "-" + state, TTL: "1h", Status: state})
		}
		check0(t, c.Agent().ServiceRegister(service))
	}
	for expression, want := range map[string]string{
		`Checks.Status == "passing"`:                                            "good mixed",
		`Checks.Status != "passing"`:                                            "bad mixed",
		`not Checks.Status == "passing"`:                                        "bad none",
		`Checks.Status == passing and Checks.Status == critical`:                "mixed",
		`any Checks as c { c.Status == passing and c.Status == critical }`:      "",
		`all Checks as c { c.Status == passing }`:                               "good none",
		`any Checks as i, c { i == 1 and c.Status == passing }`:                 "mixed",
		`Checks.CheckID matches "^bad" or Checks.CheckID contains good`:         "bad good",
		`"good-tag" in Checks.ServiceTags`:                                      "good",
		`any Checks as c { any c.ServiceTags as t { t == "bad-tag" } }`:         "bad",
		`any Service.Tags as t { t == "good-tag" and Checks.Status == passing}`: "good",
		`Service.Proxy.Upstreams.DestinationName != "x"`:                        "",
		`Service.Kind == "" and Service.Connect.Native == false`:                "bad good mixed none",
		`Service.TaggedAddresses.lan.Port == 1`:                                 "",
		"Service.ID == `bad` or Service.ID == \"a\\x22b\\\\\"":                  "bad",
	} {
		entries, _, err := c.Health().Service("web", "", false, &api.QueryOptions{Filter: expression})
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		var found []string
		for _, e := range entries {
			found = append(found, e.Service.ID)
		}
		if got := strings.Join(found, " "); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

// TestLiterals: a literal is read as what it was written from.
// TestLiterals: a literal is read as what it was written from.
func TestLiterals(t *testing.T) {
	for _, text := range []string{``, `a`, `"`, `\`, `\"`, "`", "a\"`\\", "\r\n\x00\xff", `é`, `\x22`} {
		of, err := parseFilter("ID == " + literal(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		f := filter{of}
		if ok, err := f.matches(agentService{ID: text}); !ok || err != nil {
			t.Errorf("%q: %v %v", text, ok, err)
		}
	}
}
