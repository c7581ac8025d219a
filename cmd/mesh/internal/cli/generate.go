package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/scaffold"
)

// newGenerate is `mesh generate`: Go code from the contracts.
func newGenerate(d *deps) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Bring the Go code up to date with the contracts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runGenerate(cmd.Context(), d, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit 1 when something is stale")
	return cmd
}

func runGenerate(ctx context.Context, d *deps, check bool) error {
	ws, err := openWorkspace(d)
	if err != nil {
		return err
	}
	stale, err := scaffold.Generate(ctx, ws, check)
	if err != nil {
		return err
	}
	for _, path := range stale {
		fmt.Fprintln(d.streams.Out, path)
	}
	if check && len(stale) > 0 {
		return withNext(fmt.Errorf("%d files are stale", len(stale)), "mesh generate")
	}
	return nil
}

// generateSaved is what the daemon does when contracts are saved.
func generateSaved(ctx context.Context, dir string) error {
	ws, err := scaffold.Open(dir)
	if err != nil || !scaffold.Maintains(ws) {
		return err
	}
	_, err = scaffold.Generate(ctx, ws, false)
	return err
}
