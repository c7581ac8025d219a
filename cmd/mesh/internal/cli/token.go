package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
)

// newToken is `mesh token`.
func newToken(d *deps) *cobra.Command {
	r := control.TokenRequest{}
	cmd := &cobra.Command{
		Use: "token --user NAME | --client ID", Short: "Print an access token", Args: cobra.NoArgs,
		Example: `  curl -H "Authorization: Bearer $(mesh token --user alice)" http://127.0.0.1:8080/…`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("expires") && r.Expires <= 0 {
				return usageError("--expires %v: more than 0, and at most 24h", r.Expires)
			}
			return runToken(cmd.Context(), d, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.User, "user", "", "whose token: `NAME` of a user of mesh.yaml")
	f.StringVar(&r.Client, "client", "", "or a client's, in its own name: `ID` of a service, or of a client of mesh.yaml")
	f.StringSliceVar(&r.Scopes, "scope", nil, "`SCOPE` of the token")
	f.DurationVar(&r.Expires, "expires", 0, "how long it is valid (default 1h0m0s)")
	_ = cmd.RegisterFlagCompletionFunc("user", d.completeFrom(userNames)) // there is such a flag
	_ = cmd.RegisterFlagCompletionFunc("client", d.completeFrom(clientIDs))
	return cmd
}

func userNames(m *manifest.Workspace) (names []string) {
	for _, user := range m.Identity.Users {
		names = append(names, user.Name)
	}
	return names
}

func clientIDs(m *manifest.Workspace) []string {
	names := m.Names()
	for _, client := range m.Identity.Clients {
		names = append(names, client.ID)
	}
	return names
}

func runToken(ctx context.Context, d *deps, r control.TokenRequest) error {
	if (r.User == "") == (r.Client == "") {
		return usageError("token takes either --user NAME or --client ID")
	}
	if r.Expires > 24*time.Hour {
		return usageError("--expires %v: more than 0, and at most 24h", r.Expires)
	}
	client, err := d.client()
	if err != nil {
		return err
	}
	token, err := client.Token(ctx, r)
	if err != nil {
		return explain(err)
	}
	fmt.Fprintln(d.streams.Out, token)
	return nil
}
