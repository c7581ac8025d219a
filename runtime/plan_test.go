package runtime

import (
	"strings"
	"testing"

	"github.com/ebef7166/mesh/manifest"
)

func svc(name string, change func(*manifest.Service)) *manifest.Service {
	s := &manifest.Service{Name: name, Kind: manifest.KindService, Restart: &manifest.Restart{}, Stop: &manifest.Stop{}}
	if change != nil {
		change(s)
	}
	return s
}

func TestPlan(t *testing.T) {
	after := func(deps manifest.Dependencies) func(*manifest.Service) {
		return func(s *manifest.Service) { s.DependsOn = deps }
	}
	three := 3
	a, b, c := svc("a", after(manifest.Dependencies{"c": manifest.Healthy})), svc("b", nil), svc("c", nil)
	seen := func(services ...*manifest.Service) Observed {
		o := Observed{}
		for _, s := range services {
			o[s.Name] = ObservedService{Spec: SpecHash(s), Replicas: s.Instances()}
		}
		return o
	}
	for _, tt := range []struct {
		name     string
		want     []*manifest.Service
		observed Observed
		plan     string
	}{
		{"all new, in order", []*manifest.Service{b, a, c}, nil,
			"start    c (not running)\nstart    a after c healthy (not running)\nstart    b (not running)"},
		{"nothing", []*manifest.Service{a, b, c}, seen(a, b, c), "nothing to do"},
		{"one goes", []*manifest.Service{a, c}, seen(a, b, c), "stop     b (not wanted any more)"},
		{"one changes", []*manifest.Service{a, svc("b", func(s *manifest.Service) { s.Env = map[string]string{"X": "y"} }), c}, seen(a, b, c),
			"replace  b (its manifest changed)"},
		{"one is run by somebody else", []*manifest.Service{a, svc("b", func(s *manifest.Service) { s.URL = "http://127.0.0.1:1" }), c}, seen(a, b, c),
			"replace  b (it runs elsewhere, at http://127.0.0.1:1: nothing but its address here)"},
		{"and is not any more", []*manifest.Service{a, b, c}, func() Observed {
			o := seen(a, b, c)
			o["b"] = ObservedService{Spec: "another", External: true, Replicas: 1}
			return o
		}(), "replace  b (it does not run elsewhere any more)"},
		{"more replicas", []*manifest.Service{a, svc("b", func(s *manifest.Service) { s.Replicas = &three }), c}, seen(a, b, c),
			"scale    b (3 replicas wanted, 1 run)"},
		{"one has failed", []*manifest.Service{a, b, c}, func() Observed {
			o := seen(a, b, c)
			o["b"] = ObservedService{Spec: o["b"].Spec, Replicas: 1, Down: "it has failed"}
			return o
		}(), "restart  b (it has failed)"},
		{"one whose newest version does not serve", []*manifest.Service{a, b, c}, func() Observed {
			o := seen(a, b, c)
			o["b"] = ObservedService{Spec: o["b"].Spec, Replicas: 1, Rejected: "its newest version was not built"}
			return o
		}(), "replace  b (its newest version was not built)"},
		{"another profile", []*manifest.Service{a, svc("b", func(s *manifest.Service) { s.Profiles = []string{"p"} }), c}, seen(a, b, c), "nothing to do"},
		{"one was told what is not so any more", []*manifest.Service{a, b, c}, func() Observed {
			o := seen(a, b, c)
			o["b"] = ObservedService{Spec: o["b"].Spec, Replicas: 1, Outdated: "the first container joins"}
			return o
		}(), "restart  b (the first container joins)"},
		{"one is told something else by its .env", []*manifest.Service{a, b, c}, func() Observed {
			o := seen(a, b, c)
			o["b"] = ObservedService{Spec: o["b"].Spec, Replicas: 1, Down: "it has failed", Environment: "its .env changed"}
			return o
		}(), "replace  b (its .env changed)"},
		{"routes restart nothing", []*manifest.Service{a, svc("b", func(s *manifest.Service) { s.Routes = []manifest.Route{{Path: "/x"}} }), c}, seen(a, b, c),
			"nothing to do"},
		{"what is watched and waited for replaces nothing", []*manifest.Service{a, svc("b", func(s *manifest.Service) {
			s.Watch, s.DependsOn = []string{"*.tmpl"}, manifest.Dependencies{"c": manifest.Started}
		}), c}, seen(a, b, c), "nothing to do"},
		{"a cycle ends", []*manifest.Service{svc("x", after(manifest.Dependencies{"y": manifest.Started})), svc("y", after(manifest.Dependencies{"x": manifest.Started}))}, nil,
			"start    y after x started (not running)\nstart    x after y started (not running)"},
		{"what is no program that stays", []*manifest.Service{
			svc("far", func(s *manifest.Service) { s.URL = "http://127.0.0.1:1" }),
			svc("seed", func(s *manifest.Service) { s.Kind = manifest.KindTask })}, nil,
			"start    far (runs elsewhere, at http://127.0.0.1:1: nothing but its address here)\nstart    seed (a task, not run yet)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := NewPlan(tt.want, tt.observed).String(); got != tt.plan {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.plan)
			}
		})
	}
}

func TestReached(t *testing.T) {
	zero, one := 0, 1
	instance := func(state State, code *int) Instance { return Instance{State: state, ExitCode: code} }
	for _, tt := range []struct {
		name      string
		service   Service
		instances []Instance
		condition manifest.Condition
		want      bool
	}{
		{"healthy wants all replicas", Service{Replicas: 2}, []Instance{instance(Healthy, nil), instance(Starting, nil)}, manifest.Healthy, false},
		{"all are", Service{Replicas: 2}, []Instance{instance(Healthy, nil), instance(Healthy, nil)}, manifest.Healthy, true},
		{"started", Service{Replicas: 1}, []Instance{instance(Starting, nil)}, manifest.Started, true},
		{"pending is not started", Service{Replicas: 1}, []Instance{instance(Pending, nil)}, manifest.Started, false},
		{"a task is done", Service{Replicas: 1, Kind: "task"}, []Instance{instance(Exited, &zero)}, manifest.Completed, true},
		{"a task that failed is not", Service{Replicas: 1, Kind: "task"}, []Instance{instance(Exited, &one)}, manifest.Completed, false},
	} {
		if got := Reached(tt.service, tt.instances, tt.condition); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}

func TestSnapshotApply(t *testing.T) {
	s := Snapshot{}
	for _, id := range []string{"b-1", "a-10", "a-2"} {
		service, _, _ := strings.Cut(id, "-")
		s.Apply(Event{Instance: &Instance{Service: service, Instance: id}})
	}
	s.Apply(Event{Instance: &Instance{Service: "a", Instance: "a-2", State: Healthy}})
	s.Apply(Event{Instance: &Instance{Service: "b", Instance: "b-1"}, Removed: true})
	if len(s.Instances) != 2 || s.Instances[0].Instance != "a-2" || s.Instances[0].State != Healthy || s.Instances[1].Instance != "a-10" {
		t.Errorf("%+v", s.Instances)
	}
}
