package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/escape"
)

// newWhy is `mesh why`.
func newWhy(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "why SERVICE", Short: "Say why a service is in the state it is in, and what to do", Args: cobra.ExactArgs(1),
		ValidArgsFunction: d.completeServices,
		RunE:              func(cmd *cobra.Command, args []string) error { return runWhy(cmd.Context(), d, args[0], out) },
	}
	out.flag(cmd)
	return cmd
}

func runWhy(ctx context.Context, d *deps, service string, out output) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	e, err := client.Explain(ctx, service)
	if err != nil {
		return explain(err)
	}
	defer d.tellProblems(ctx, client)
	return out.print(d.streams.Out, e, func(w io.Writer) { printExplanation(w, e) })
}

func printExplanation(w io.Writer, e control.Explanation) {
	fmt.Fprintf(w, "%s is %s\n", e.Service, e.State)
	for _, cause := range e.Causes {
		fmt.Fprintf(w, "  because  %s\n", escape.Terminal(cause))
	}
	if len(e.LastLog) > 0 {
		fmt.Fprintln(w, "  last log lines")
		for _, line := range e.LastLog {
			fmt.Fprintf(w, "    %s\n", clip(escape.Terminal(line), 200))
		}
	}
	if e.Next != "" {
		fmt.Fprintf(w, "  next     %s\n", e.Next)
	}
}
