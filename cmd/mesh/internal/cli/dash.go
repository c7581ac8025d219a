package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/dashboard/tui"
)

// newDash is `mesh dash`.
func newDash(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "dash", Short: "Open the terminal dashboard of a running workspace", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDash(cmd.Context(), d) },
	}
}

func runDash(ctx context.Context, d *deps) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	if _, err := client.Status(ctx); err != nil {
		return explain(err)
	}
	if !terminal(d.streams.In) || !terminal(d.streams.Out) {
		return usageError("dash needs a terminal; mesh ps and mesh logs -f work without one")
	}
	_, err = tui.Run(ctx, client, tui.Options{In: d.streams.In, Out: d.streams.Out})
	return explain(err)
}
