package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/devgateway"
)

// newRoutes is `mesh routes`.
func newRoutes(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "routes", Short: "List the gateway's routes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runRoutes(cmd.Context(), d, out) },
	}
	out.flag(cmd)
	return cmd
}

func runRoutes(ctx context.Context, d *deps, out output) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	routes, err := client.Routes(ctx)
	if err != nil {
		return explain(err)
	}
	return out.print(d.streams.Out, routes, func(w io.Writer) {
		fmt.Fprintln(w, "ROUTE\tMETHODS\tAUTH\tTARGET\tDECLARED")
		for _, r := range routes {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", pattern(r), orAny(r.Methods), access(r), leadsTo(d, r), r.Position)
		}
	})
}

func pattern(r devgateway.Route) string {
	if r.Path != "" {
		return r.Host + r.Path
	}
	return r.Host + strings.TrimSuffix(r.Prefix, "/") + "/…"
}

// leadsTo is a service, files, or a URL.
func leadsTo(d *deps, r devgateway.Route) string {
	switch {
	case r.URL != "":
		return r.URL
	case r.Static == "":
		return r.Service
	}
	if p, err := d.place(); err == nil {
		if rel, err := filepath.Rel(p.dir, r.Static); err == nil && filepath.IsLocal(rel) {
			return "./" + filepath.ToSlash(rel)
		}
	}
	return r.Static
}

func orAny(methods []string) string {
	if len(methods) == 0 {
		return "any"
	}
	return strings.Join(methods, ",")
}

// access is what a caller needs.
func access(r devgateway.Route) string {
	text := r.Auth
	if len(r.Roles) > 0 {
		text += ", role " + strings.Join(r.Roles, " or ")
	}
	if len(r.Scopes) > 0 {
		text += ", scope " + strings.Join(r.Scopes, " and ")
	}
	return text
}
