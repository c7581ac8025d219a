package runtime

import "testing"

// TestRest: the event that ends the last build or change says so, and no other.
func TestRest(t *testing.T) {
	table := newTable()
	sub := table.topic.Subscribe(100, nil)
	defer sub.Close()
	building := func(is bool) func(*Service) { return func(s *Service) { s.Building = is } }
	changing := func(is bool) func(*Service) { return func(s *Service) { s.Changing = is } }
	for i, step := range []struct {
		do   func()
		rest bool
	}{
		{func() { table.service("a", building(true)) }, false},
		{func() { table.service("b", changing(true)) }, false},
		{func() { table.service("b", changing(false)) }, false},
		{func() { table.service("a", changing(true)) }, false},
		{func() { table.service("a", building(false)) }, false},
		{func() { table.set(Instance{Service: "a", Instance: "a-1", State: Healthy}) }, false},
		{func() { table.service("a", changing(false)) }, true},
		{func() { table.set(Instance{Service: "a", Instance: "a-1", State: Unhealthy}) }, false},
		{func() { table.service("a", func(s *Service) { s.Replicas = 2 }) }, false},
		{func() { table.service("a", building(true)) }, false},
		{func() { table.removeService("a") }, true},
	} {
		step.do()
		if e := <-sub.C(); e.Rest != step.rest {
			t.Errorf("step %d: %+v", i, e)
		}
	}
}
