package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// newWait is `mesh wait`.
func newWait(d *deps) *cobra.Command {
	var timeout time.Duration
	var condition string
	cmd := &cobra.Command{
		Use: "wait SERVICE...", Short: "Wait until services are healthy", Args: cobra.MinimumNArgs(1),
		ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if condition != "healthy" && condition != "started" && condition != "completed" {
				return usageError("--for %s: it takes healthy, started or completed", condition)
			}
			if err := checkTimeout("--timeout", timeout); err != nil {
				return err
			}
			client, err := d.client()
			if err != nil {
				return err
			}
			return waitForCondition(cmd.Context(), d, client, args, manifest.Condition(condition), timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 120*time.Second, "how long to wait")
	cmd.Flags().StringVar(&condition, "for", "healthy", "`CONDITION`: healthy, started or completed")
	completes(cmd, "for", "healthy", "started", "completed")
	return cmd
}

// waitFor waits until services (all of them, when none are named) are healthy,
// for at most timeout after the last build has ended.
func waitFor(ctx context.Context, d *deps, client *control.Client, names []string, timeout time.Duration) error {
	return waitForCondition(ctx, d, client, names, manifest.Healthy, timeout)
}

func waitForCondition(ctx context.Context, d *deps, client *control.Client, names []string, condition manifest.Condition, timeout time.Duration) error {
	now, err := knownServices(ctx, client, names)
	if err != nil {
		return explain(err)
	}
	for _, name := range names {
		if s, _ := now.Service(name); condition == manifest.Completed && s.Kind != string(manifest.KindTask) {
			return usageError("--for completed: %s is a %s, and only tasks complete", name, s.Kind)
		}
	}
	return (&waiting{names: names, condition: condition, progress: newProgress(d), limit: timeout}).wait(ctx, client)
}

func (w *waiting) wait(ctx context.Context, client *control.Client) error {
	defer w.progress.done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.timer = time.AfterFunc(w.limit, func() { cancel(errTimeout) })
	defer w.timer.Stop()
	err := client.Watch(ctx, w.see)
	switch {
	case err == nil:
		return w.verdict
	case errors.Is(context.Cause(ctx), errTimeout):
		return withNext(fmt.Errorf("not %s after %v: %s", w.condition, w.limit, w.states()), "mesh why "+firstName(w.missing))
	}
	return explain(err)
}

var errTimeout = errors.New("timeout")

func firstName(missing []string) string {
	if len(missing) == 0 {
		return "SERVICE"
	}
	return missing[0]
}

// states are what is missing with the states that were seen last.
func (w *waiting) states() string {
	states := make([]string, len(w.missing))
	for i, name := range w.missing {
		states[i] = name + " (" + stateOf(w.last.Of(name)) + ")"
	}
	return strings.Join(states, ", ")
}

// knownServices is what runs, if all that is named is part of it; nobody is asked where
// nothing is named.
func knownServices(ctx context.Context, client *control.Client, names []string) (runtime.Snapshot, error) {
	if len(names) == 0 {
		return runtime.Snapshot{}, nil
	}
	now, err := client.Snapshot(ctx)
	if err != nil {
		return now, explain(err)
	}
	var known []string
	for _, s := range now.Services {
		known = append(known, s.Name)
	}
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		if _, err := client.Explain(ctx, name); err != nil {
			return now, explain(&manifest.UnknownService{Name: name, Known: known})
		}
		return now, control.Absent(name)
	}
	return now, nil
}

// waiting looks at each snapshot.
type waiting struct {
	names     []string
	condition manifest.Condition
	progress  *progress
	limit     time.Duration
	newest    bool             // an older version that serves on does not do
	replaced  runtime.Snapshot // what runs there is to be replaced
	timer     *time.Timer

	building bool // whether the last snapshot saw a build
	missing  []string
	last     runtime.Snapshot
	verdict  error
}

// see reports that the wait is over: all are there, or none that is missing can
// get there by itself.
func (w *waiting) see(now runtime.Snapshot) bool {
	building := w.look(now)
	switch { // the time is counted after the build, which may be silent for long
	case building:
		w.timer.Stop()
	case w.building:
		w.timer.Reset(w.limit)
	}
	w.building = building
	return len(w.missing) == 0 || w.verdict != nil
}

// look finds what is missing, and the verdict when nothing of that can come by
// itself. It reports whether something is being built.
func (w *waiting) look(now runtime.Snapshot) bool {
	w.missing, w.last, w.verdict = w.missing[:0], now, nil
	var stuck []string
	var building []runtime.Service
	for s, instances := range now.All() {
		if len(w.names) > 0 && !slices.Contains(w.names, s.Name) || len(w.names) == 0 && s.Stopped {
			continue
		}
		w.progress.service(s, instances)
		if s.Building {
			building = append(building, s)
		}
		if !s.Changing && (runtime.Reached(s, instances, w.condition) || endedWell(s, instances)) && !w.outlived(instances) && !w.behind(s) {
			continue
		}
		w.missing = append(w.missing, s.Name)
		if !s.Building && !s.Changing && (hopeless(s, instances) || w.outlived(instances) || w.behind(s)) {
			stuck = append(stuck, s.Name)
		}
	}
	w.progress.builds(building)
	if len(stuck) > 0 && len(stuck)+waitingFor(now, w.names) >= len(w.missing) {
		w.verdict = withNext(trouble(now, stuck), "mesh why "+stuck[0])
	}
	return len(building) > 0
}

// endedWell reports that a service has ended as its restart policy lets it, with
// nothing wrong: no more comes of it.
func endedWell(s runtime.Service, instances []runtime.Instance) bool {
	return !s.Stopped && len(instances) > 0 && !slices.ContainsFunc(instances, func(i runtime.Instance) bool { return !i.Completed() })
}

// behind reports that the newest version is wanted and does not serve, or not yet.
func (w *waiting) behind(s runtime.Service) bool {
	return w.newest && (s.Building || s.BuildError != "" || s.Rejected != "")
}

// trouble says what keeps services from what was waited for.
func trouble(now runtime.Snapshot, stuck []string) error {
	if len(stuck) > 1 {
		lines := make([]string, len(stuck))
		for i, name := range stuck {
			lines[i] = "\n  " + name + ": " + firstLine(reasonOf(now, name))
		}
		return fmt.Errorf("%s:%s", plainList(stuck), strings.Join(lines, ""))
	}
	if serves := slices.ContainsFunc(now.Of(stuck[0]), func(i runtime.Instance) bool { return i.State == runtime.Healthy }); serves {
		return fmt.Errorf("%s: %s", strings.Join(stuck, ", "), reasonOf(now, stuck[0]))
	}
	return fmt.Errorf("%s: %s", plainList(stuck), reasonOf(now, stuck[0]))
}

// outlived reports that an instance runs that was to be replaced: the new one did
// not become healthy.
func (w *waiting) outlived(instances []runtime.Instance) bool {
	return slices.ContainsFunc(instances, func(i runtime.Instance) bool {
		return i.State.Running() && slices.ContainsFunc(w.replaced.Of(i.Service), i.SameStart)
	})
}

// waitingFor counts services that wait for others and have not begun.
func waitingFor(now runtime.Snapshot, names []string) int {
	n := 0
	for _, s := range now.Services {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		if slices.ContainsFunc(now.Of(s.Name), func(i runtime.Instance) bool { return i.State == runtime.Pending && i.Reason != "" }) {
			n++
		}
	}
	return n
}

func plainList(names []string) string {
	if len(names) == 1 {
		return names[0] + " is not healthy"
	}
	return strings.Join(names, ", ") + " are not healthy"
}

func reasonOf(now runtime.Snapshot, service string) string {
	for _, i := range now.Of(service) {
		if i.Reason != "" {
			return i.Reason
		}
	}
	if s, _ := now.Service(service); s.BuildError != "" {
		return "does not build: " + s.BuildError // known a moment before its instances say so
	}
	return stateOf(now.Of(service))
}

func stateOf(instances []runtime.Instance) string {
	if len(instances) == 0 {
		return "no instances"
	}
	return string(instances[0].State)
}

// hopeless reports that nothing more happens by itself.
func hopeless(s runtime.Service, instances []runtime.Instance) bool {
	if s.BuildError != "" && !slices.ContainsFunc(instances, func(i runtime.Instance) bool { return i.State == runtime.Healthy }) {
		return true
	}
	return len(instances) > 0 && !slices.ContainsFunc(instances, func(i runtime.Instance) bool { return !i.State.Final() })
}

func clip(text string, width int) string {
	if r := []rune(text); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return text
}
