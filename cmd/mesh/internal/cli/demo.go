package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

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
			if err := placeDemo(cmd.Context(), d, args); err != nil || !run {
				return err
			}
			return runUp(cmd.Context(), d, up)
		},
	}
	cmd.Flags().BoolVar(&run, "run", run, "run it after writing it")
	up.flags(cmd.Flags())
	return cmd
}

// placeDemo writes the example to the folder that is named, else to shop, and goes
// there. An example that is there already stays as it is.
func placeDemo(ctx context.Context, d *deps, args []string) error {
	if around, err := scaffold.Open(d.dir); err == nil && len(args) == 0 {
		if around.Name != demoName {
			return withNext(fmt.Errorf("this is a workspace already: %s", around.Dir), "mesh up runs it; mesh demo DIR writes the example to DIR")
		}
		d.dir = around.Dir
		d.say("The example is in " + d.dir + " already.")
		return nil
	}
	dir := demoName
	if len(args) > 0 {
		dir = args[0]
	}
	d.dir = resolve(d, dir)
	return writeDemo(ctx, d)
}

const demoName = "shop"

func writeDemo(ctx context.Context, d *deps) error {
	err := scaffold.Demo(ctx, d.dir)
	conflict := (*scaffold.ConflictError)(nil)
	switch {
	case errors.As(err, &conflict) && isDemo(d.dir):
		d.say("The example is in " + d.dir + " already, with changes; it stays as it is.")
		return nil
	case errors.As(err, &conflict):
		return withNext(err, "name another folder: mesh demo DIR")
	case err != nil:
		return err
	}
	d.say("The example is in " + d.dir + "; its README walks through it.")
	return nil
}

// isDemo reports whether dir holds the example, or what became of it.
func isDemo(dir string) bool {
	abs, err := filepath.Abs(dir)
	ws, e := scaffold.Open(dir)
	return err == nil && e == nil && ws.Dir == abs && ws.Name == demoName
}
