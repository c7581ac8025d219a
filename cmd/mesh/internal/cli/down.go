package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/container"
	"github.com/ebef7166/mesh/runtime/process"
	"github.com/ebef7166/mesh/workspace"
)

// newDown is `mesh down`.
func newDown(d *deps) *cobra.Command {
	var volumes bool
	cmd := &cobra.Command{
		Use: "down", Short: "Stop everything of this workspace", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDown(cmd.Context(), d, volumes) },
	}
	cmd.Flags().BoolVar(&volumes, "volumes", false, "also remove the data: databases, events, keys")
	return cmd
}

func runDown(ctx context.Context, d *deps, volumes bool) error {
	p, err := d.place()
	if err != nil {
		return err
	}
	client := p.client()
	status, err := client.Status(ctx)
	var watching guard
	if err == nil {
		watching = guardOf(ctx, status.PID) // while the daemon can be asked whose child it is
		err = client.Shutdown(ctx, false)
	}
	switch {
	case errors.Is(err, control.ErrNotRunning):
		if err := d.sweep(ctx, p); err != nil {
			return err
		}
	case err != nil:
		return explain(err)
	default:
		if err := d.gone(ctx, client); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)    // Ctrl-C was for the wait
		if workspace.MayHaveLeft(p.state) { // the engine was away
			if err := workspace.SweepAfterDeath(ctx, p.dir, p.state); err != nil {
				return err
			}
		}
		p.awaitEnd(ctx)
		watching.await(ctx)
		d.say("Stopped.")
	}
	d.mentionCopies(p)
	return d.data(ctx, p, volumes)
}

// gone waits until everything has stopped. Ctrl-C once says that another one ends the
// patience.
func (d *deps) gone(ctx context.Context, client *control.Client) error {
	err := client.Gone(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	again, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d.say("Still stopping; once more kills what is left.")
	if err := client.Gone(again); err != nil {
		_ = client.Shutdown(context.WithoutCancel(ctx), true) // it may just have ended
		return err
	}
	return nil
}

// sweep ends what a mesh left that was killed together with its guard.
func (d *deps) sweep(ctx context.Context, p place) error {
	left := process.Sweep(p.state)
	if err := workspace.SweepAfterDeath(ctx, p.dir, p.state); err != nil {
		return err
	}
	if left == 0 {
		d.say("Nothing runs here.")
		return nil
	}
	d.say(fmt.Sprintf("Ended what a mesh left here that was killed with its guard (processes: %d).", left))
	return nil
}

// data removes the data, or says that it was kept.
func (d *deps) data(ctx context.Context, p place, remove bool) error {
	dir := filepath.Join(p.state, "data")
	if !remove {
		if _, err := os.Stat(dir); err == nil {
			d.say("Data is kept in " + dir + "; mesh down --volumes removes it.")
		}
		return nil
	}
	m, err := p.load()
	if err != nil {
		return err
	}
	if err := workspace.DropDatabases(ctx, m, p.state); err != nil {
		return err
	}
	if err := container.RemoveVolumes(ctx, p.state); err != nil && manifest.HasContainers(m.Services) {
		return err
	}
	if p.isCopy() {
		dir = p.state
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the data: %w", err)
	}
	d.say("Removed the data.")
	return nil
}

// say tells a person what was done.
func (d *deps) say(text string) {
	if !d.quiet {
		fmt.Fprintln(d.streams.Err, text)
	}
}
