package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/internal/escape"
)

// newEvents is `mesh events`.
func newEvents(d *deps) *cobra.Command {
	cmd := &cobra.Command{
		Use: "events", Short: "Look at the events of services", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDead(d))
	return cmd
}

func newDead(d *deps) *cobra.Command {
	var out output
	var n int
	cmd := &cobra.Command{
		Use: "dead", Short: "List the events that a service could not process, the newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDead(cmd.Context(), d, n, out) },
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 50, "at most `N`")
	out.flag(cmd)
	return cmd
}

func runDead(ctx context.Context, d *deps, n int, out output) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	letters, err := client.DeadEvents(ctx, n)
	if err != nil {
		return explain(err)
	}
	return out.print(d.streams.Out, letters, func(w io.Writer) {
		fmt.Fprintln(w, "TIME\tEVENT\tNUMBER\tSERVICE\tTRIES\tREASON")
		for _, l := range letters {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\n", l.Time.Local().Format(time.TimeOnly), l.Subject, l.Sequence, l.Consumer, l.Deliveries, oneLine(l.Reason))
		}
	})
}

// oneLine is text from elsewhere as a cell of a table.
func oneLine(text string) string { return escape.Terminal(strings.Join(strings.Fields(text), " ")) }
