package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
)

// newSteer makes `mesh start`, `stop`, `restart` and `rebuild`.
func newSteer(d *deps) []*cobra.Command {
	var commands []*cobra.Command
	for verb, short := range map[string]string{
		"start":   "Start services that were stopped or have failed",
		"stop":    "Stop services; they stay stopped until they are started",
		"restart": "Replace services' instances by new ones of the same code",
		"rebuild": "Build services and swap in what changed",
	} {
		commands = append(commands, &cobra.Command{
			Use: verb + " SERVICE...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: d.completeServices,
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := d.client()
				if err != nil {
					return err
				}
				return explain(client.Steer(cmd.Context(), verb, args...))
			},
		})
	}
	return commands
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
func (d *deps) completeServices(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	p, err := d.place()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	m, err := manifest.Load(p.dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return m.Names(), cobra.ShellCompDirectiveNoFileComp
}
