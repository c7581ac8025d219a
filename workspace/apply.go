package workspace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// Apply brings the running workspace to a new manifest and selection, and does
// nothing else. The plan that it carried out is returned.
func (w *Workspace) Apply(ctx context.Context, m *manifest.Workspace, sel manifest.Selection) (runtime.Plan, error) {
	plan, err := w.applyAll(ctx, m, sel, false)
	return plan, w.note(err)
}

func (w *Workspace) applyAll(ctx context.Context, m *manifest.Workspace, sel manifest.Selection, saved bool) (runtime.Plan, error) {
	sel = w.Widen(m, sel)
	selected, err := m.Select(sel)
	if err != nil {
		return nil, err
	}
	observed := w.observed(selected)
	if saved {
		leaveAsSet(observed, w.Manifest(), m)
	}
	if err := w.join(ctx, selected); err != nil {
		return nil, err
	}
	for _, text := range w.fixed(m) {
		w.log.Warn(text)
	}
	w.mu.Lock()
	w.manifest, w.selected, w.options.Selection = m, selected, sel
	w.mu.Unlock()
	if w.identity != nil {
		if err := w.identity.Update(users(m), w.clients()); err != nil {
			return nil, err
		}
	}
	if err := w.broker.Apply(ctx, w.brokerUsers()); err != nil {
		return nil, err
	}
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	w.storms.forget()
	return w.apply(selected, observed), nil
}

// leaveAsSet hides what a person has stopped, or scaled, from a plan for manifests that
// were saved: unless they say something else of it now, nobody asked for that to change.
func leaveAsSet(observed runtime.Observed, was, now *manifest.Workspace) {
	for name, o := range observed {
		if o.Stopped {
			o.Down = ""
		}
		before, had := was.Service(name)
		if after, has := now.Service(name); had && has && before.Instances() == after.Instances() {
			o.Replicas = after.Instances()
		}
		observed[name] = o
	}
}

// RunTask runs a task once more, or for the first time where it is not part of
// this run. It returns once the task has been told.
func (w *Workspace) RunTask(ctx context.Context, name string) error {
	m := w.Manifest()
	task, ok := m.Service(name)
	if !ok {
		return &manifest.UnknownService{Name: name, Known: m.Names()}
	}
	if slices.Contains(w.running(), task) {
		return w.supervisor.Restart(name)
	}
	observed := w.observed([]*manifest.Service{task})
	if err := w.join(ctx, []*manifest.Service{task}); err != nil {
		return err
	}
	w.mu.Lock()
	w.selected = append(slices.Clone(w.selected), task)
	selected := w.selected
	w.mu.Unlock()
	if err := w.configure(ctx); err != nil {
		return err
	}
	w.apply(selected, observed)
	return nil
}

// Plan is what Apply would do.
func (w *Workspace) Plan(m *manifest.Workspace, sel manifest.Selection) (runtime.Plan, error) {
	selected, err := m.Select(w.Widen(m, sel))
	if err != nil {
		return nil, err
	}
	return runtime.NewPlan(selected, w.observed(selected)), nil
}

// observed is what runs, as services find it. With the first container among them
// processes have to be told other addresses.
func (w *Workspace) observed(services []*manifest.Service) runtime.Observed {
	all := w.supervisor.Observed()
	if !w.joins(services) {
		return all
	}
	for _, s := range w.running() {
		if now, ok := all[s.Name]; ok && s.Kind != manifest.KindTask && !s.External() {
			now.Outdated = "the first container joins: it is told addresses that containers reach, too"
			all[s.Name] = now
		}
	}
	return all
}

// apply brings what runs to services, and returns what that takes.
func (w *Workspace) apply(services []*manifest.Service, observed runtime.Observed) runtime.Plan {
	plan := runtime.NewPlan(services, observed)
	w.supervisor.Apply(plan, services)
	return plan
}

// configure gives the built-ins what the manifest says.
func (w *Workspace) configure(ctx context.Context) error {
	selected := w.running()
	table, err := devgateway.Compile(routes(w.Manifest().Gateway.Routes, selected))
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	w.gateway.SetTable(table)
	w.setGateway(w.Manifest().Gateway)
	return errors.Join(w.links.apply(ctx, selected, w.options.Outside), w.state.Save())
}

// Widen adds what runs to a selection that names services: naming one more stops
// no other.
func (w *Workspace) Widen(m *manifest.Workspace, sel manifest.Selection) manifest.Selection {
	if len(sel.Names) == 0 {
		return sel
	}
	sel.Names = slices.Clone(sel.Names)
	sel.External = w.stillExternal(m, sel)
	for _, s := range w.running() {
		if _, still := m.Service(s.Name); still && !slices.Contains(sel.Names, s.Name) && !slices.Contains(sel.Except, s.Name) {
			sel.Names = append(sel.Names, s.Name)
		}
	}
	return sel
}

// stillExternal are the services that somebody else runs: those of a selection,
// and those that were so before.
func (w *Workspace) stillExternal(m *manifest.Workspace, sel manifest.Selection) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]string{}
	for name, at := range w.options.Selection.External {
		if _, still := m.Service(name); still && !slices.Contains(sel.Except, name) {
			all[name] = at
		}
	}
	maps.Copy(all, sel.External)
	return all
}

// Reload applies the manifest as it was saved.
func (w *Workspace) Reload(ctx context.Context) (runtime.Plan, error) {
	m, err := w.Load()
	if err != nil {
		return nil, w.note(err)
	}
	w.mu.Lock()
	sel := w.options.Selection
	w.mu.Unlock()
	plan, err := w.applyAll(ctx, m, sel, true)
	return plan, w.note(err)
}

// Load reads the manifests as they are on disk, for this run.
func (w *Workspace) Load() (*manifest.Workspace, error) {
	m, err := manifest.Load(w.Manifest().Dir)
	if err == nil {
		m.UseDriver(w.options.Driver)
	}
	return m, err
}
