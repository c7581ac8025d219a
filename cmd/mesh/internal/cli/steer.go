package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// newSteer makes `mesh start`, `stop` and `restart`.
func newSteer(d *deps) []*cobra.Command {
	return []*cobra.Command{
		newOrder(d, "start", "Starting", "Start services that were stopped or have failed, and wait until they are healthy"),
		newOrder(d, "stop", "Stopping", "Stop services, and wait until they have; they stay stopped until they are started"),
		newOrder(d, "restart", "Restarting", "Replace services' instances by new ones of the same code, and wait until these are healthy"),
	}
}

func newOrder(d *deps, verb, doing, short string) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: verb + " SERVICE...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runOrder(cmd.Context(), d, verb, doing, args, timeout)
		},
	}
	cmd.Flags().DurationVar(&timeout, "wait-timeout", 0, "how long to wait (default 2m0s)")
	return cmd
}

func runOrder(ctx context.Context, d *deps, verb, doing string, names []string, timeout time.Duration) error {
	if err := checkTimeout("--wait-timeout", timeout); err != nil {
		return err
	}
	set, err := loadSettings()
	if err != nil {
		return err
	}
	client, before, err := steer(ctx, d, verb, names)
	if err != nil {
		return err
	}
	d.say(doing + " " + strings.Join(names, ", ") + ".")
	w := &waiting{names: names, condition: manifest.Healthy, progress: newProgress(d), limit: cmp.Or(timeout, set.waitTimeout)}
	switch verb {
	case "stop":
		return waitStopped(ctx, client, names, w.limit)
	case "restart":
		w.replaced = before
	}
	return w.wait(ctx, client)
}

// steer has the daemon do verb to the services, and returns what was before it.
func steer(ctx context.Context, d *deps, verb string, names []string) (*control.Client, runtime.Snapshot, error) {
	client, err := d.client()
	if err != nil {
		return nil, runtime.Snapshot{}, err
	}
	before, err := client.Snapshot(ctx)
	if err != nil {
		return nil, runtime.Snapshot{}, explain(err)
	}
	return client, before, explain(client.Steer(ctx, verb, names...))
}

// waitStopped waits until nothing of the services runs.
func waitStopped(ctx context.Context, client *control.Client, names []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errTimeout)
	defer cancel()
	var left, wanted []string
	err := client.Watch(ctx, func(now runtime.Snapshot) bool {
		wanted = slices.DeleteFunc(slices.Clone(names), func(name string) bool { s, there := now.Service(name); return s.Stopped || !there })
		if len(wanted) > 0 {
			return true
		}
		left = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return stopped(now, name) })
		return len(left) == 0
	})
	if len(wanted) > 0 {
		return fmt.Errorf("somebody started it again meanwhile: %s", strings.Join(wanted, ", "))
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		return withNext(fmt.Errorf("not stopped after %v: %s", timeout, strings.Join(left, ", ")), "mesh why "+left[0])
	}
	return explain(err)
}

func stopped(now runtime.Snapshot, name string) bool {
	s, _ := now.Service(name)
	return !s.Changing && !slices.ContainsFunc(now.Of(name), func(i runtime.Instance) bool { return i.State.Running() })
}

// newRebuild is `mesh rebuild`.
func newRebuild(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "rebuild SERVICE...", Short: "Build services, say what came of it, and swap in what changed",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error { return runRebuild(cmd.Context(), d, args) },
	}
}

func runRebuild(ctx context.Context, d *deps, names []string) error {
	client, before, err := steer(ctx, d, "rebuild", names)
	if err != nil {
		return err
	}
	after, err := awaitBuilds(ctx, d, client, names)
	if err != nil {
		return explain(err)
	}
	var failed []error
	for _, name := range names {
		was, _ := before.Service(name)
		is, _ := after.Service(name)
		fmt.Fprintf(d.streams.Out, "%-16s %s\n", name, built(was, is))
		if is.BuildError != "" {
			failed = append(failed, fmt.Errorf("%s does not build: %s", name, is.BuildError))
		}
	}
	if len(failed) > 0 {
		return withNext(errors.Join(failed...), "mend the code and save: mesh builds again by itself")
	}
	return nil
}

// awaitBuilds waits until no build of the services is under way.
func awaitBuilds(ctx context.Context, d *deps, client *control.Client, names []string) (after runtime.Snapshot, err error) {
	progress := newProgress(d)
	defer progress.done()
	return after, client.Watch(ctx, func(now runtime.Snapshot) bool {
		after = now
		var building []runtime.Service
		for _, name := range names {
			if s, _ := now.Service(name); s.Building {
				building = append(building, s)
			}
		}
		progress.builds(building)
		return len(building) == 0
	})
}

// built says what came of a build.
func built(was, is runtime.Service) string {
	switch {
	case is.BuildError != "":
		return "failed"
	case is.Version == "":
		return "runs elsewhere"
	case was.Version == is.Version:
		return "unchanged " + is.Version
	}
	return "built " + is.Version
}

// newScale is `mesh scale`.
func newScale(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "scale SERVICE=N...", Short: "Set how many instances of services run", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runScale(cmd.Context(), d, args) },
	}
}

func runScale(ctx context.Context, d *deps, args []string) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	wanted := map[string]int{}
	for _, arg := range args {
		name, text, _ := strings.Cut(arg, "=")
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 100 {
			return usageError("%s: write it as SERVICE=N, with N from 0 to 100", arg)
		}
		wanted[name] = n
	}
	for name, n := range wanted {
		if err := client.Scale(ctx, name, n); err != nil {
			return explain(err)
		}
	}
	return nil
}

// completeServices offers the names of services to the shell.
func (d *deps) completeServices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return d.completeFrom((*manifest.Workspace).Names)(cmd, args, typed)
}

// completeFrom offers something of the manifests to the shell.
func (d *deps) completeFrom(values func(*manifest.Workspace) []string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		p, err := d.place()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		m, err := manifest.Load(p.dir)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values(m), cobra.ShellCompDirectiveNoFileComp
	}
}
