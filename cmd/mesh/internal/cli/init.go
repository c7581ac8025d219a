package cli

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/scaffold"
)

// newInit is `mesh init`: a new workspace.
func newInit(d *deps) *cobra.Command {
	opts := scaffold.InitOptions{}
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a new workspace in DIR",
		Long: `Make a new workspace in DIR (the current folder, when none is named): mesh.yaml, go.work, .gitignore,
a CI workflow and a README.
Where DIR has files already, only mesh.yaml and a line in .gitignore are written.`,
		Args: cobra.MatchAll(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			opts.Dir = d.dir
			if len(args) > 0 {
				if args[0] == "" {
					return usageError("the folder has no name: mesh init NAME makes one, mesh init . takes this one")
				}
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
		return unusable(opts, err)
	}
	if err := scaffold.Write(opts.Dir, files); err != nil {
		return explainWrite(err)
	}
	d.say(madeWorkspace(opts.Dir))
	return nil
}

// unusable adds what to do about a folder's name that is none for a workspace.
func unusable(opts scaffold.InitOptions, err error) error {
	f := &failure{err: err, code: exitUsage}
	var prefix *scaffold.ModuleError
	switch {
	case errors.As(err, &prefix):
		f.next = "--module example.com/shop, or without it one is made of the name"
	case opts.Name == "":
		f.next = "--name NAME gives the workspace another name than its folder's"
	}
	return f
}

// madeWorkspace says where it is, and how to get there when one is elsewhere.
func madeWorkspace(dir string) string {
	next := "mesh new service NAME"
	if filepath.Clean(dir) != "." {
		next = "cd " + pasted(dir) + " && " + next
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return fmt.Sprintf("Made a workspace in %s\nNext: %s", dir, next)
}
