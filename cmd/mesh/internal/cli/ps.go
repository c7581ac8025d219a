package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/escape"
	"github.com/ebef7166/mesh/runtime"
)

// newPs is `mesh ps`.
func newPs(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "ps", Short: "List services and their instances", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runPs(cmd.Context(), d, out) },
	}
	out.flag(cmd)
	return cmd
}

func runPs(ctx context.Context, d *deps, out output) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	now, err := client.Snapshot(ctx)
	if errors.Is(err, control.ErrNotRunning) && out.format != "table" {
		now, err = runtime.Snapshot{Instances: []runtime.Instance{}}, nil
	}
	if err != nil {
		return explain(err)
	}
	tellBuilds(now)
	defer d.tellProblems(ctx, client)
	return out.print(d.streams.Out, now.Instances, func(w io.Writer) {
		fmt.Fprintln(w, "INSTANCE\tSTATE\tADDRESS\tPID\tDRIVER\tRESTARTS\tCPU\tMEMORY\tREASON")
		for _, i := range now.Instances {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.1f%%\t%s\t%s\n", i.Instance, i.State, address(i), pid(i), driver(i), i.Restarts, i.CPUPercent,
				memory(i), clip(escape.Terminal(firstLine(i.Reason)), 80))
		}
	})
}

// tellProblems says what is wrong with the workspace as a whole.
func (d *deps) tellProblems(ctx context.Context, client *control.Client) {
	status, err := client.Status(ctx)
	if err != nil {
		return // the command itself has said so
	}
	for _, problem := range status.Problems {
		fmt.Fprintln(d.streams.Err, "mesh: "+escape.Terminal(problem))
	}
}

// tellBuilds gives instances that say nothing themselves the progress of their
// service's build.
func tellBuilds(now runtime.Snapshot) {
	for i := range now.Instances {
		if s, _ := now.Service(now.Instances[i].Service); now.Instances[i].Reason == "" {
			now.Instances[i].Reason = s.BuildProgress()
		}
	}
}

// driver says what the instance runs as, with the engine's name for it.
func driver(i runtime.Instance) string {
	if i.ContainerID == "" {
		return i.Driver
	}
	return i.Driver + " " + i.ContainerID[:min(12, len(i.ContainerID))]
}

// address is a link that terminals make clickable.
func address(i runtime.Instance) string {
	if i.URL != "" {
		return i.URL
	}
	if i.Address == "" {
		return "-"
	}
	return i.Address
}

func pid(i runtime.Instance) string {
	if i.PID == 0 {
		return "-"
	}
	return fmt.Sprint(i.PID)
}

func memory(i runtime.Instance) string {
	if i.MemoryBytes == 0 {
		return "-"
	}
	return humanize.IBytes(uint64(i.MemoryBytes))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// newStatus is `mesh status`.
func newStatus(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "status", Short: "Show the workspace: its state, the built-ins and their addresses", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), d, out) },
	}
	out.flag(cmd)
	return cmd
}

func runStatus(ctx context.Context, d *deps, out output) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	s, err := client.Status(ctx)
	if err != nil {
		return explain(err)
	}
	return out.print(d.streams.Out, s, func(w io.Writer) {
		fmt.Fprintf(w, "workspace\t%s (%s)\n", s.Name, s.Workspace)
		fmt.Fprintf(w, "state\t%s, %s, daemon pid %d\n", s.State, counted(len(s.Services), "service"), s.PID)
		for _, e := range s.Builtins() {
			fmt.Fprintf(w, "%s\t%s\n", strings.ReplaceAll(e.Name, "_", " "), e.URL)
		}
		for _, p := range s.FixedPorts {
			fmt.Fprintf(w, "port of %s\t%s%s\n", p.Service, p.URL, p.Instead())
		}
		fmt.Fprintf(w, "isolation\t%s\n", s.Isolation)
		for _, problem := range s.Problems {
			fmt.Fprintf(w, "problem\t%s\n", escape.Terminal(problem))
		}
	})
}
