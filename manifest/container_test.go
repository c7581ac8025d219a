package manifest

import (
	"maps"
	"testing"
)

func TestWhatRunsInAContainer(t *testing.T) {
	for want, services := range map[bool][]*Service{
		true:  {{Image: "x"}, {Image: "x", Run: Command{Shell: "y"}, Driver: "process"}, {Dockerfile: "x"}, {Go: ".", Driver: "container"}, {Go: ".", Dockerfile: "x"}, {Dockerfile: "x", Driver: "process"}},
		false: {{Go: "."}, {Run: Command{Shell: "y"}}, {Go: ".", Dockerfile: "x", Driver: "process"}, {URL: "http://x:1", Driver: "container"}},
	} {
		for _, s := range services {
			if s.Container() != want {
				t.Errorf("%+v: %t", s, !want)
			}
		}
	}
	w := &Workspace{Services: []*Service{{Go: "."}, {Go: ".", Driver: "process"}, {Run: Command{Shell: "y"}}, {Image: "x"}}}
	w.UseDriver("container")
	for i, want := range []string{"container", "process", "", ""} {
		if got := w.Services[i].Driver; got != want {
			t.Errorf("service %d: driver %q, want %q", i, got, want)
		}
	}
}

// TestForContainers holds that the driver of the run counts.
func TestForContainers(t *testing.T) {
	const archive = "-- mesh.yaml --\nversion: 1\nname: x\nservices:\n  a: {go: ., volumes: [\"data:/data\"]}\n  b: {run: b, user: \"1\"}\n-- go.mod --\nmodule x\n"
	for driver, want := range map[string]int{"": 2, "process": 2, "container": 1} { // what only has run stays a process
		ws := loaded(t, archive)
		ws.UseDriver(driver)
		if got := ws.ForContainers(); len(got) != want {
			t.Errorf("driver %q: warned of %v", driver, got)
		}
	}
}

func TestPortsInside(t *testing.T) {
	for _, tt := range []struct {
		ports map[string]Port
		fixed int
		more  map[string]int
	}{
		{nil, 0, map[string]int{}},
		{map[string]Port{"redis": {Container: 6379}}, 6379, map[string]int{}},
		{map[string]Port{"amqp": {Container: 5672}, "admin": {Container: 15672}}, 0, map[string]int{"amqp": 5672, "admin": 15672}},
		{map[string]Port{"main": {Container: 80}, "a": {}, "b": {}}, 80, map[string]int{"a": 8081, "b": 8082}},
	} {
		s := &Service{Ports: tt.ports}
		if s.FixedPort() != tt.fixed || !maps.Equal(s.MorePorts(), tt.more) {
			t.Errorf("%v: %d %v", tt.ports, s.FixedPort(), s.MorePorts())
		}
	}
}

func TestParseVolume(t *testing.T) {
	for text, want := range map[string]Volume{
		"data:/var/lib/data": {"data", "/var/lib/data", false},
		"./conf:/etc/x/:ro":  {"./conf", "/etc/x", true},
		"/srv:/srv:rw":       {"/srv", "/srv", false},
	} {
		if v, err := ParseVolume(text); err != nil || v != want {
			t.Errorf("%s: %+v %v", text, v, err)
		}
	}
	for _, text := range []string{"", "data", "data:", ":/x", "data:relative", "data:/", "Data:/x", "a b:/x", "data:/x:z", "data:/x:ro:ro"} {
		if v, err := ParseVolume(text); err == nil {
			t.Errorf("%q is taken for %+v", text, v)
		}
	}
}
