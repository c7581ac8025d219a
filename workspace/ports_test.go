package workspace

import (
	"net"
	"slices"
	"strings"
	"testing"
)

const morePorts = `version: 1
name: shop
gateway: {address: "127.0.0.1:0"}
services:
  api: {dir: ., run: ["true"], ports: {admin: {}, debug: DEBUGGER, web: {container: 8000}}, env: {METRICS: "http://${HOST}:${ADMIN_PORT}/metrics"}}
`

// TestAProcessIsToldItsFurtherPorts: each is a free one of the instance's own, and what
// an image fixes is the main one.
func TestAProcessIsToldItsFurtherPorts(t *testing.T) {
	w := openWorkspace(t, morePorts)
	env := environment{ws: w, ports: &w.ports}
	seen := map[string]bool{}
	for _, instance := range []string{"api-1", "api-2"} {
		values := started(t, env, instance)
		for _, name := range []string{"PORT", "ADMIN_PORT", "DEBUGGER"} {
			if seen[values[name]] || values[name] == "" {
				t.Errorf("%s of %s: %q", name, instance, values[name])
			}
			seen[values[name]] = true
			ln, err := net.Listen("tcp", "127.0.0.1:"+values[name])
			if err != nil {
				t.Fatal(err)
			}
			ln.Close()
		}
		if values["WEB_PORT"] != values["PORT"] || values["METRICS"] != "http://127.0.0.1:"+values["ADMIN_PORT"]+"/metrics" {
			t.Errorf("%s: %v", instance, values)
		}
	}
	before := w.ports.at("api-1/admin")
	if started(t, env, "api-1"); w.ports.at("api-1/admin") == before || len(w.ports.held) != 6 {
		t.Errorf("a restart keeps what the last start held: %v", w.ports.held)
	}
	if env.Release("api-1"); len(w.ports.held) != 3 || w.ports.at("api-1") != "" || w.ports.at("api-1/admin") != "" {
		t.Errorf("what is no more keeps what it held: %v", w.ports.held)
	}
}

// TestABuildIsNotToldOfAnInstance: env that refers to what an instance alone has does
// not keep the service from being built, and other variables without a value do.
func TestABuildIsNotToldOfAnInstance(t *testing.T) {
	w := openWorkspace(t, morePorts)
	api, _ := w.Manifest().Service("api")
	env := environment{ws: w, ports: &w.ports}
	built, err := env.Environ(api, "", "")
	if err != nil || slices.ContainsFunc(built, func(v string) bool { return strings.HasPrefix(v, "METRICS=") }) || !slices.Contains(built, "MESH_SERVICE=api") {
		t.Errorf("%v %v", built, err)
	}
	if api.Env["METRICS"] == "" {
		t.Error("the manifest has lost it")
	}
	api.Env["NEEDED"] = "${NOWHERE}"
	if _, err := env.Environ(api, "", ""); err == nil || !strings.Contains(err.Error(), "${NOWHERE} has no value") {
		t.Errorf("%v", err)
	}
}

// started is what an instance of api is told when it starts.
func started(t *testing.T, env environment, instance string) map[string]string {
	t.Helper()
	api, _ := env.ws.Manifest().Service("api")
	address, err := env.Address(api, instance)
	if err != nil {
		t.Fatal(err)
	}
	told, err := env.Environ(api, instance, address)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, entry := range told {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	return values
}
