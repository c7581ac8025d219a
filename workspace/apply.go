package workspace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	c, err := w.choose(m, sel)
	if err != nil {
		return nil, err
	}
	selected := c.selected
	observed, unread := w.observed(selected)
	w.unread.Store(&unread)
	c.leaveOthers(observed)
	w.leaveBegun(selected, observed)
	switch {
	case saved:
		leaveAsSet(observed, w.Manifest(), m)
		leaveManual(selected, observed)
	case unread != nil: // of what was asked for nothing is done that is not all of it
		return nil, unread
	}
	changes := w.changes(m, selected)
	if err := w.join(ctx, selected); err != nil {
		return nil, err
	}
	for _, text := range w.fixed(m) {
		w.log.Warn(text)
	}
	w.mu.Lock()
	w.manifest, w.selected, w.selection = m, selected, c.standing
	w.mu.Unlock()
	if w.identity != nil {
		if err := w.identity.Update(users(m), w.clients()); err != nil {
			return nil, err
		}
	}
	if err := w.readmit(ctx); err != nil {
		return nil, err
	}
	if err := w.configure(ctx); err != nil {
		return nil, err
	}
	w.storms.forget()
	return append(w.apply(selected, observed), changes...), nil
}

// leaveAsSet hides what a person has stopped, or scaled, versions that were tried and
// tasks that have failed from a plan for manifests that were saved: unless they say
// something else of it now, nobody asked for that to change.
func leaveAsSet(observed runtime.Observed, was, now *manifest.Workspace) {
	for name, o := range observed {
		o.Rejected = ""
		if o.Stopped {
			o.Down = ""
		}
		before, had := was.Service(name)
		after, has := now.Service(name)
		if has && after.Kind == manifest.KindTask {
			o.Down = ""
		}
		if had && has && before.Instances() == after.Instances() {
			o.Replicas = after.Instances()
		}
		observed[name] = o
	}
}

// begunAt is since when a task is under way; nil: it is not.
func (w *Workspace) begunAt(task string) *time.Time {
	for _, i := range w.supervisor.Look(task).Instances {
		if i.State.Running() && i.StartedAt != nil {
			return i.StartedAt
		}
	}
	return nil
}

// leaveBegun hides from a plan what is different about tasks that are under way: a
// migration runs to its end. It stays different for the plan after that.
func (w *Workspace) leaveBegun(selected []*manifest.Service, observed runtime.Observed) {
	for _, s := range selected {
		if o, runs := observed[s.Name]; runs && s.Kind == manifest.KindTask && w.begunAt(s.Name) != nil {
			o.Spec, o.Environment, o.Outdated = runtime.SpecHash(s), "", ""
			observed[s.Name] = o
		}
	}
}

// ranAlone are the tasks that run since somebody asked for them, and are not done.
func (w *Workspace) ranAlone(m *manifest.Workspace, c choice, except []string) (tasks []*manifest.Service) {
	for _, s := range w.running() {
		now, still := m.Service(s.Name)
		if still && now.Kind == manifest.KindTask && !slices.Contains(c.asked, now) && !slices.Contains(except, s.Name) &&
			slices.ContainsFunc(w.supervisor.Look(s.Name).Instances, func(i runtime.Instance) bool { return !i.State.Final() }) {
			tasks = append(tasks, now)
		}
	}
	return tasks
}

// RunTask runs a task once more, or for the first time where it is not part of
// this run. It returns once the task has been told. One that is under way is left alone,
// with an error: a migration runs to its end.
func (w *Workspace) RunTask(ctx context.Context, name string) error {
	m := w.Manifest()
	task, ok := m.Service(name)
	if !ok {
		return &manifest.UnknownService{Name: name, Known: m.Names()}
	}
	if since := w.begunAt(name); since != nil {
		return fmt.Errorf("%s runs already, since %s: mesh wait %[1]s --for completed waits for its end, mesh restart %[1]s begins it anew", name, since.Format(time.TimeOnly))
	}
	observed, _ := w.observed([]*manifest.Service{task}) // its start says what is wrong with its files
	has := slices.Contains(w.running(), task)
	if now := observed[name]; has && now.Spec == runtime.SpecHash(task) && now.Environment == "" {
		return w.supervisor.Restart(name) // which builds it first
	}
	if err := w.join(ctx, []*manifest.Service{task}); err != nil {
		return err
	}
	w.mu.Lock()
	if !has {
		w.selected = append(slices.Clone(w.selected), task)
	}
	selected := w.selected
	w.mu.Unlock()
	if err := w.configure(ctx); err != nil {
		return err
	}
	choice{selected: selected, asked: []*manifest.Service{task}}.leaveOthers(observed)
	w.apply(selected, observed)
	return nil
}

// Plan is what Apply would do, and what it would leave to the next start.
func (w *Workspace) Plan(m *manifest.Workspace, sel manifest.Selection) (runtime.Plan, error) {
	c, err := w.choose(m, sel)
	if err != nil {
		return nil, err
	}
	observed, err := w.observed(c.selected)
	if err != nil {
		return nil, err
	}
	c.leaveOthers(observed)
	w.leaveBegun(c.selected, observed)
	return slices.Concat(runtime.NewPlan(c.selected, observed), w.changes(m, c.selected), w.later(m)), nil
}

// observed is what runs, as services find it. With the first container among them
// processes have to be told other addresses. An error is of a file of variables.
func (w *Workspace) observed(services []*manifest.Service) (runtime.Observed, error) {
	all := w.supervisor.Observed()
	err := w.compareVariables(services, all)
	if !w.joins(services) {
		return all, err
	}
	for _, s := range w.running() {
		if now, ok := all[s.Name]; ok && s.Kind != manifest.KindTask && !s.External() {
			now.Outdated = "the first container joins: it is told addresses that containers reach, too"
			all[s.Name] = now
		}
	}
	return all, err
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

// choice is what a selection comes to beside what runs.
type choice struct {
	selected []*manifest.Service // all that is to run
	asked    []*manifest.Service // those that were asked for, with what they need
	standing manifest.Selection  // for what is saved from then on
}

// choose says what a selection comes to: naming some stops no other.
func (w *Workspace) choose(m *manifest.Workspace, sel manifest.Selection) (c choice, err error) {
	if len(sel.Names) > 0 {
		sel.External = w.stillExternal(m, sel)
	}
	if c.asked, err = m.Select(sel); err != nil || len(sel.Names) == 0 {
		c.selected, c.standing = slices.Concat(c.asked, w.ranAlone(m, c, sel.Except)), sel
		return c, err
	}
	c.selected = slices.Clone(c.asked)
	for _, s := range w.running() {
		now, still := m.Service(s.Name)
		if still && !slices.Contains(c.asked, now) && !slices.Contains(sel.Except, s.Name) {
			c.selected = append(c.selected, now)
		}
	}
	slices.SortFunc(c.selected, func(a, b *manifest.Service) int { return strings.Compare(a.Name, b.Name) })
	c.standing = w.standing(m, sel, c.selected)
	return c, nil
}

// standing is a selection of these services: the one before where it has them all, so
// that what is added to the manifests later is started as before. What was left out
// once is not to come back as what another needs.
func (w *Workspace) standing(m *manifest.Workspace, sel manifest.Selection, selected []*manifest.Service) manifest.Selection {
	w.mu.Lock()
	before := w.selection
	w.mu.Unlock()
	before.External = sel.External
	if all, err := m.Select(before); err == nil && slices.Equal(all, selected) {
		return before
	}
	next := manifest.Selection{External: sel.External, NoDeps: sel.NoDeps || before.NoDeps || len(sel.Except)+len(before.Except) > 0}
	for _, s := range selected {
		next.Names = append(next.Names, s.Name)
	}
	return next
}

// leaveOthers hides from a plan what is not to change because others were asked for:
// what was stopped or scaled, or has failed.
func (c choice) leaveOthers(observed runtime.Observed) {
	for _, s := range c.selected {
		if o, runs := observed[s.Name]; runs && !slices.Contains(c.asked, s) {
			o.Down, o.Rejected, o.Replicas = "", "", s.Instances()
			observed[s.Name] = o
		}
	}
}

// stillExternal are the services that somebody else runs: those of a selection,
// and those that were so before.
func (w *Workspace) stillExternal(m *manifest.Workspace, sel manifest.Selection) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := map[string]string{}
	for name, at := range w.selection.External {
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
	sel := w.selection
	w.mu.Unlock()
	sel.Names = stillThere(m, sel.Names)
	plan, err := w.applyAll(ctx, m, sel, true)
	return plan, w.note(err)
}

// stillThere are the names of services that the manifests have; where that is none of
// them, all, and whoever selects says what is missing.
func stillThere(m *manifest.Workspace, names []string) []string {
	left := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, has := m.Service(name); return !has })
	if len(left) == 0 {
		return names
	}
	return left
}

// Load reads the manifests as they are on disk, for this run.
func (w *Workspace) Load() (*manifest.Workspace, error) {
	m, err := manifest.Load(w.Manifest().Dir)
	if err == nil {
		m.UseDriver(w.options.Driver)
	}
	return m, err
}
