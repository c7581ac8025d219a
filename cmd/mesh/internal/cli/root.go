// Package cli is mesh's command line: one file per command, each with a
// constructor that takes what the command depends on. Parsing stands apart
// from doing, so that flags are tested without the work.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/internal/guardian"
)

// deps is what a command may depend on; commands get it from newRoot.
type deps struct {
	streams Streams
	dir     string // where to look for the workspace: -C, else the current folder
	quiet   bool
	verbose bool
}

// Main runs the program and returns its exit code: for a person, or as a daemon or its
// guard, which are no commands of the command line.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal ends what the first could not, such as a write that nobody
	// reads; commands that wait for one more ask for it themselves.
	context.AfterFunc(ctx, stop)
	switch {
	case guardian.Ended != nil:
		return report(os.Stderr, watchOver(ctx, guardian.Ended))
	case len(os.Args) == 2 && os.Args[1] == guardian.Daemon:
		return report(os.Stderr, serveTold(ctx))
	}
	defer guardian.Dismiss()
	return Run(ctx, os.Args[1:], System())
}

// Run runs mesh with args (without the program's name) and returns the exit
// code of the contract.
func Run(ctx context.Context, args []string, streams Streams) int {
	root := newRoot(&deps{streams: streams, dir: "."})
	root.SetArgs(args)
	return report(streams.Err, root.ExecuteContext(ctx))
}

func newRoot(d *deps) *cobra.Command {
	root := &cobra.Command{
		Use:           "mesh",
		Short:         "Scaffold microservices, and run the whole system on one machine",
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("unknown command %q%s", args[0], didYouMean(cmd.SuggestionsFor(args[0])))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(d.streams.In)
	root.SetOut(d.streams.Out)
	root.SetErr(d.streams.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%v (see %s --help)", err, cmd.CommandPath())
	})
	root.SetVersionTemplate("mesh {{.Version}}\n")
	root.SetUsageFunc(usageOf(root.UsageFunc()))
	flags := root.PersistentFlags()
	flags.StringVarP(&d.dir, "dir", "C", d.dir, "run as if started in `DIR`")
	flags.BoolVarP(&d.quiet, "quiet", "q", false, "print results and errors only")
	flags.BoolVarP(&d.verbose, "verbose", "v", false, "say more")
	root.AddCommand(newInit(d), newNew(d), newImport(d), newGenerate(d), newDemo(d), newUp(d), newDown(d), newPs(d), newStatus(d), newLogs(d), newRebuild(d), newScale(d), newWait(d), newToken(d), newIdentity(d), newRoutes(d), newEvents(d),
		newWhy(d), newEnv(d), newExec(d), newRun(d), newValidate(d), newDoctor(d), newSchema(d), newVersion(d), newDash(d), newSmoke(d), newGraph(d))
	root.AddCommand(newSteer(d)...)
	wrongArgsAreUsage(root)
	return root
}

// usageOf is usage without the values of switches, which nobody writes:
// --detach[=true|false].
func usageOf(usage func(*cobra.Command) error) func(*cobra.Command) error {
	const values = "[=true|false]"
	return func(cmd *cobra.Command) error {
		out, text := cmd.OutOrStderr(), &strings.Builder{}
		cmd.SetOut(text)
		defer cmd.SetOut(out)
		if err := usage(cmd); err != nil {
			return err
		}
		_, err := io.WriteString(out, strings.ReplaceAll(text.String(), values, strings.Repeat(" ", len(values))))
		return err
	}
}

// wrongArgsAreUsage gives errors of arguments the exit code of wrong usage.
func wrongArgsAreUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError("%w (see %s --help)", sayArgs(cmd, args, err), cmd.CommandPath())
			}
			return nil
		}
	}
	for _, child := range cmd.Commands() {
		wrongArgsAreUsage(child)
	}
}

// sayArgs says which arguments a command takes, where err only counts them or takes
// one of a command without any for a command of its own.
func sayArgs(cmd *cobra.Command, args []string, err error) error {
	_, takes, _ := strings.Cut(cmd.Use, " ")
	switch {
	case cmd.HasSubCommands() || takes != "" && !strings.Contains(err.Error(), "arg(s)"):
		return err
	case takes == "":
		return fmt.Errorf("%s takes no arguments: %q is one", cmd.CommandPath(), args[0])
	case len(args) == 0:
		return fmt.Errorf("%s takes %s: nothing is given", cmd.CommandPath(), takes)
	}
	return fmt.Errorf("%s takes %s: %s given", cmd.CommandPath(), takes, counted(len(args), "argument"))
}

func didYouMean(suggestions []string) string {
	if len(suggestions) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(suggestions, " or ") + "?"
}
