package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Service returns the service called name.
func (w *Workspace) Service(name string) (*Service, bool) {
	s, ok := w.byName[name]
	return s, ok
}

// Names of all services, sorted.
func (w *Workspace) Names() []string {
	names := make([]string, len(w.Services))
	for i, s := range w.Services {
		names[i] = s.Name
	}
	return names
}

// UnknownService is the error for a name that no service has.
type UnknownService struct {
	Name  string
	Known []string
}

func (e *UnknownService) Error() string {
	if near := nearest(e.Name, e.Known); near != "" {
		return fmt.Sprintf("no service %q; did you mean %q?", e.Name, near)
	}
	if len(e.Known) == 0 {
		return fmt.Sprintf("no service %q: the workspace has none", e.Name)
	}
	return fmt.Sprintf("no service %q; there are %s", e.Name, strings.Join(e.Known, ", "))
}

// Selection says which services to run.
type Selection struct {
	Names    []string // none: all that the profiles allow
	Profiles []string
	NoDeps   bool              // only Names, without what they depend on and call
	Except   []string          // never these
	External map[string]string // these too, at addresses where somebody else runs them
}

// Select returns the services of a selection, sorted by name: those named, and
// what they depend on, call and consume from, or all of the profiles. Those that
// somebody else runs are external in w from then on.
func (w *Workspace) Select(sel Selection) ([]*Service, error) {
	if err := w.runElsewhere(sel.External); err != nil {
		return nil, err
	}
	chosen := map[string]*Service{}
	for _, name := range slices.Concat(sel.Names, sel.Except) {
		if _, ok := w.byName[name]; !ok {
			return nil, &UnknownService{Name: name, Known: w.Names()}
		}
	}
	if len(sel.Names) == 0 {
		for _, s := range w.Services {
			if s.inProfiles(sel.Profiles) {
				w.choose(s.Name, true, chosen)
			}
		}
	}
	for _, name := range slices.AppendSeq(slices.Clone(sel.Names), maps.Keys(sel.External)) {
		w.choose(name, !sel.NoDeps, chosen)
	}
	for _, name := range sel.Except {
		delete(chosen, name)
	}
	return slices.SortedFunc(maps.Values(chosen), func(a, b *Service) int { return strings.Compare(a.Name, b.Name) }), nil
}

// CheckProfiles reports the first of the profiles that no service belongs to. It is
// for what somebody asks for: of a run, the last service of a profile may go.
func (w *Workspace) CheckProfiles(profiles []string) error {
	var known []string
	for _, s := range w.Services {
		known = append(known, s.Profiles...)
	}
	slices.Sort(known)
	known = slices.Compact(known)
	i := slices.IndexFunc(profiles, func(p string) bool { return !slices.Contains(known, p) })
	switch {
	case i < 0:
		return nil
	case len(known) == 0:
		return fmt.Errorf("no service has a profile, %q or another", profiles[i])
	case nearest(profiles[i], known) != "":
		return fmt.Errorf("no service has the profile %q; did you mean %q?", profiles[i], nearest(profiles[i], known))
	}
	return fmt.Errorf("no service has the profile %q; there are %s", profiles[i], strings.Join(known, ", "))
}

func (s *Service) inProfiles(active []string) bool {
	if len(s.Profiles) == 0 {
		return true
	}
	return slices.ContainsFunc(s.Profiles, func(p string) bool { return slices.Contains(active, p) })
}

func (w *Workspace) choose(name string, deps bool, chosen map[string]*Service) {
	s, ok := w.byName[name]
	if !ok || chosen[name] != nil {
		return
	}
	chosen[name] = s
	if !deps {
		return
	}
	for dep := range s.DependsOn {
		w.choose(dep, deps, chosen)
	}
	for _, callee := range s.Calls {
		w.choose(callee, deps, chosen)
	}
}

// cycle returns a cycle in depends_on through name, or nil.
func (w *Workspace) cycle(name string, trail []string) []string {
	if i := slices.Index(trail, name); i >= 0 {
		return append(slices.Clone(trail[i:]), name)
	}
	s, ok := w.byName[name]
	if !ok {
		return nil
	}
	for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
		if found := w.cycle(dep, append(trail, name)); found != nil {
			return found
		}
	}
	return nil
}

// Edge is one arrow of the service graph.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
	Kind string `json:"kind"` // calls, depends_on, or the event's name
}

// Edges are the arrows of the graph, sorted: calls, orderings and events, from
// publisher to consumer.
func (w *Workspace) Edges() []Edge {
	var edges []Edge
	for _, s := range w.Services {
		for _, callee := range s.Calls {
			edges = append(edges, Edge{s.Name, callee, "calls"})
		}
		for dep := range s.DependsOn {
			edges = append(edges, Edge{s.Name, dep, "depends_on"})
		}
		for _, event := range s.Consumes {
			edges = append(edges, Edge{Publisher(event), s.Name, event})
		}
	}
	slices.SortFunc(edges, func(a, b Edge) int {
		return strings.Compare(a.From+"\x00"+a.To+"\x00"+a.Kind, b.From+"\x00"+b.To+"\x00"+b.Kind)
	})
	return edges
}

// Publisher is the service that an event's name belongs to: the part before the
// first dot.
func Publisher(event string) string {
	name, _, _ := strings.Cut(event, ".")
	return name
}

// EnvName is the name of a service as environment variables spell it: PROFILE
// for profile, USER_DATA for user-data.
func EnvName(service string) string {
	return strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
}
