package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

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
	fmt.Fprintln(w, headline(e))
	for _, cause := range e.Causes {
		fmt.Fprintf(w, "  because  %s\n", escape.Terminal(cause))
	}
	if len(e.LastLog) > 0 {
		fmt.Fprintln(w, "  last log lines")
		for _, l := range e.LastLog {
			fmt.Fprintf(w, "    %s %s | %s\n", l.Time.Local().Format(time.TimeOnly), l.Instance, clip(escape.Terminal(l.Line), 200))
		}
	}
	if e.Next != "" {
		fmt.Fprintf(w, "  next     %s\n", e.Next)
	}
}

// headline is the state, and what serves in spite of it.
func headline(e control.Explanation) string {
	text := e.Service + " is " + e.State
	switch len(e.Serving) {
	case 0:
		return text
	case 1:
		return text + "; " + e.Serving[0] + " is healthy and serves"
	}
	return text + "; " + strings.Join(e.Serving, ", ") + " are healthy and serve"
}
