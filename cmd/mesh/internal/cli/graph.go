package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
)

// newGraph is `mesh graph`.
func newGraph(d *deps) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "graph", Short: "Draw which service calls, follows or listens to which", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			write, ok := map[string]func(io.Writer, *manifest.Workspace){"text": graphText, "mermaid": graphMermaid, "dot": graphDot}[format]
			if !ok {
				return usageError("--format %s: it takes text, mermaid or dot", format)
			}
			_, m, err := d.workspace()
			if err != nil {
				return err
			}
			write(d.streams.Out, m)
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT`: text, mermaid or dot")
	return cmd
}

func graphText(w io.Writer, m *manifest.Workspace) {
	for _, s := range m.Services {
		fmt.Fprintln(w, s.Name)
		for _, r := range s.Routes {
			fmt.Fprintf(w, "  <- gateway %s%s\n", r.Path, r.Prefix)
		}
		for _, e := range m.Edges() {
			switch {
			case e.From == s.Name && e.Kind == "calls":
				fmt.Fprintf(w, "  -> %s\n", e.To)
			case e.From == s.Name && e.Kind == "depends_on":
				fmt.Fprintf(w, "  after %s\n", e.To)
			case e.To == s.Name && e.Kind != "calls" && e.Kind != "depends_on":
				fmt.Fprintf(w, "  <~ %s\n", e.Kind)
			}
		}
	}
}

func graphMermaid(w io.Writer, m *manifest.Workspace) {
	fmt.Fprintln(w, "flowchart LR\n  gateway([gateway])")
	for _, s := range m.Services {
		fmt.Fprintf(w, "  %s\n", s.Name)
		if len(s.Routes) > 0 {
			fmt.Fprintf(w, "  gateway --> %s\n", s.Name)
		}
	}
	for _, e := range m.Edges() {
		switch e.Kind {
		case "calls":
			fmt.Fprintf(w, "  %s --> %s\n", e.From, e.To)
		case "depends_on":
			fmt.Fprintf(w, "  %s -. after .-> %s\n", e.From, e.To)
		default:
			fmt.Fprintf(w, "  %s -. %s .-> %s\n", e.From, e.Kind, e.To)
		}
	}
}

func graphDot(w io.Writer, m *manifest.Workspace) {
	fmt.Fprintf(w, "digraph %q {\n  rankdir=LR\n  gateway [shape=box]\n", m.Name)
	for _, s := range m.Services {
		fmt.Fprintf(w, "  %q\n", s.Name)
		if len(s.Routes) > 0 {
			fmt.Fprintf(w, "  gateway -> %q\n", s.Name)
		}
	}
	for _, e := range m.Edges() {
		label := ""
		if e.Kind != "calls" {
			label = fmt.Sprintf(" [style=dashed,label=%q]", e.Kind)
		}
		fmt.Fprintf(w, "  %q -> %q%s\n", e.From, e.To, label)
	}
	fmt.Fprintln(w, "}")
}
