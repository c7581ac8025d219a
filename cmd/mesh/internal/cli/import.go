package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/scaffold"
	"github.com/ebef7166/mesh/scaffold/adopt"
)

// newImport is `mesh import`.
func newImport(d *deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make manifests for services that exist",
		Long: `Write a mesh.yaml into the current folder (or that of -C) for the services of another tool's file.
None of their files is changed. What could not be translated is listed with its place.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError("what is to be imported? (see %s --help)", cmd.CommandPath())
		},
	}
	cmd.AddCommand(newImportFrom(d, "compose FILE...", "From Compose files, each laid over those before it", cobra.MinimumNArgs(1), adopt.Compose))
	cmd.AddCommand(newImportFrom(d, "procfile FILE", "From a Procfile", cobra.ExactArgs(1), func(dir string, files, names []string) (*adopt.Result, error) {
		return adopt.Procfile(dir, files[0], names[0])
	}))
	return cmd
}

// translate reads files, called names in messages, for a workspace in dir.
type translate func(dir string, files, names []string) (*adopt.Result, error)

func newImportFrom(d *deps, use, short string, args cobra.PositionalArgs, read translate) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{Use: use, Short: short, Args: args,
		RunE: func(_ *cobra.Command, files []string) error { return runImport(d, files, dryRun, read) },
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the manifest, and write nothing")
	return cmd
}

func runImport(d *deps, names []string, dryRun bool, read translate) error {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i], names[i] = resolve(d, name), filepath.ToSlash(name)
	}
	result, err := read(d.dir, paths, names)
	if err != nil {
		return unreadable(err)
	}
	if len(result.Services) == 0 {
		return usageError("%s: there are no services in it", strings.Join(names, ", "))
	}
	for _, n := range result.Notes {
		fmt.Fprintln(d.streams.Err, n)
	}
	files, err := result.Files()
	if err != nil {
		return err
	}
	if dryRun {
		_, err := d.streams.Out.Write(files[0].Data)
		return err
	}
	if err := scaffold.Write(d.dir, files); err != nil {
		return explainImport(err)
	}
	d.say(fmt.Sprintf("Wrote %s: %s.%s\nNext: mesh up. State is kept in .mesh, which belongs into .gitignore.", manifest.WorkspaceFile,
		counted(len(result.Services), "service"), left(result.Notes)))
	noteProblems(d, d.dir)
	return nil
}

// unreadable gives an error of the files that were named its exit code.
func unreadable(err error) error {
	var problems manifest.Problems
	if errors.As(err, &problems) {
		return &failure{err: err, code: exitUsage}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &failure{err: fmt.Errorf("cannot be read: %w", err), code: exitUsage}
	}
	return err
}

func explainImport(err error) error {
	if conflict := (*scaffold.ConflictError)(nil); errors.As(err, &conflict) {
		return withNext(err, "--dry-run prints what would be written: take over from it what you want")
	}
	return err
}

func left(notes []manifest.Problem) string {
	if len(notes) == 0 {
		return ""
	}
	return " What is said above was not translated: " + counted(len(notes), "place") + "."
}
