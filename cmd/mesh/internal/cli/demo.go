package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/scaffold"
)

// newDemo is `mesh demo`: it writes the example workspace and does `mesh up` in
// it.
func newDemo(d *deps) *cobra.Command {
	run, up := true, &upOptions{}
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "Write an example system of four services, and run it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "shop"
			if len(args) > 0 {
				dir = args[0]
			}
			d.dir = resolve(d, dir)
			if err := writeDemo(cmd.Context(), d); err != nil || !run {
				return err
			}
			return runUp(cmd.Context(), d, up)
		},
	}
	cmd.Flags().BoolVar(&run, "run", run, "run it after writing it")
	up.flags(cmd.Flags())
	return cmd
}

func writeDemo(ctx context.Context, d *deps) error {
	err := scaffold.Demo(ctx, d.dir)
	if conflict := (*scaffold.ConflictError)(nil); errors.As(err, &conflict) {
		return withNext(err, fmt.Sprintf("name another folder; or, if these are your edits of the example: mesh -C %s up", d.dir))
	}
	if err == nil && !d.quiet {
		fmt.Fprintf(d.streams.Err, "The example is in %s; its README walks through it.\n", d.dir)
	}
	return err
}
