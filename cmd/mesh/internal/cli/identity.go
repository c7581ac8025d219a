package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// newIdentity is `mesh identity`.
func newIdentity(d *deps) *cobra.Command {
	cmd := &cobra.Command{Use: "identity", Short: "Look after the identity provider"}
	cmd.AddCommand(newRotate(d))
	return cmd
}

// newRotate is `mesh identity rotate`.
func newRotate(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "rotate", Short: "Sign tokens with a new key", Args: cobra.NoArgs,
		Long: `Make a new key, which signs tokens from now on.
Tokens of the old one stay good until they expire, which is a day at most. Whoever
verifies tokens must fetch the keys anew when it sees one that it does not know:
this is how to find out whether it does.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRotate(cmd.Context(), d, out) },
	}
	out.flag(cmd)
	return cmd
}

func runRotate(ctx context.Context, d *deps, out output) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	r, err := client.RotateKeys(ctx)
	if err != nil {
		return explain(err)
	}
	return out.print(d.streams.Out, r, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tSIGNS\tHONOURED UNTIL")
		fmt.Fprintf(w, "%s\tyes\t-\n", r.Key)
		for _, k := range r.Retired {
			fmt.Fprintf(w, "%s\tno\t%s\n", k.Key, k.Until.Local().Format(time.DateTime))
		}
	})
}
