package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/scaffold"
)

// newInit is `mesh init`: a new workspace.
func newInit(d *deps) *cobra.Command {
	opts := scaffold.InitOptions{}
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a new workspace in DIR",
		Long: `Make a new workspace in DIR: mesh.yaml, go.work, .gitignore, a CI workflow and a README.
Where DIR has files already, only mesh.yaml and a line in .gitignore are written.`,
		Args: cobra.MatchAll(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			opts.Dir = d.dir
			if len(args) > 0 {
				opts.Dir = resolve(d, args[0])
			}
			return runInit(d, opts)
		},
	}
	cmd.Flags().StringVar(&opts.Name, "name", "", "`NAME` of the workspace (default the folder's)")
	cmd.Flags().StringVar(&opts.Module, "module", "", "`PREFIX` of its modules' paths (default example.com/NAME)")
	return cmd
}

func runInit(d *deps, opts scaffold.InitOptions) error {
	files, err := scaffold.NewWorkspace(opts)
	if conflict := (*scaffold.ConflictError)(nil); errors.As(err, &conflict) {
		return withNext(err, "this is a workspace already: mesh new service NAME adds to it")
	}
	if err != nil {
		return usageError("%w", err)
	}
	if err := scaffold.Write(opts.Dir, files); err != nil {
		return explainWrite(err)
	}
	if !d.quiet {
		fmt.Fprintf(d.streams.Err, "Made a workspace in %s. Next: cd %s && mesh new service NAME\n", opts.Dir, opts.Dir)
	}
	return nil
}
