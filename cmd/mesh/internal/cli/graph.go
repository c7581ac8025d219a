package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
)

// newGraph is `mesh graph`.
func newGraph(d *deps) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "graph", Short: "Draw which service calls, follows or listens to which", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			write, ok := map[string]func(io.Writer, *manifest.Workspace){"text": graphText, "mermaid": graphMermaid, "dot": graphDot, "svg": graphSVG}[format]
			if !ok {
				return usageError("--format %s: it takes text, mermaid, dot or svg", format)
			}
			_, m, err := d.workspace()
			if err != nil {
				return err
			}
			write(d.streams.Out, m)
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "`FORMAT`: text, mermaid, dot or svg")
	completes(cmd, "format", "text", "mermaid", "dot", "svg")
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
	fmt.Fprintln(w, "\n-> calls   <- takes requests from   <~ hears the event   after: starts after")
}

func graphMermaid(w io.Writer, m *manifest.Workspace) {
	fmt.Fprintf(w, "flowchart LR\n  %s([gateway])\n", gatewayNode)
	for _, s := range m.Services {
		fmt.Fprintf(w, "  %s\n", mermaidNode(s.Name))
		if len(s.Routes) > 0 {
			fmt.Fprintf(w, "  %s --> %s\n", gatewayNode, mermaidID(s.Name))
		}
	}
	for _, e := range m.Edges() {
		from, to := mermaidID(e.From), mermaidID(e.To)
		switch e.Kind {
		case "calls":
			fmt.Fprintf(w, "  %s --> %s\n", from, to)
		case "depends_on":
			fmt.Fprintf(w, "  %s -. after .-> %s\n", from, to)
		default:
			fmt.Fprintf(w, "  %s -. %s .-> %s\n", from, e.Kind, to)
		}
	}
}

// gatewayNode is a name that no service can have.
const gatewayNode = "mesh_gateway"

// mermaidID is a service's name, unless that is a word of Mermaid's own.
func mermaidID(service string) string {
	words := []string{"call", "class", "click", "default", "direction", "end", "flowchart", "graph", "href", "style", "subgraph"}
	if slices.Contains(words, service) {
		return "service_" + service
	}
	return service
}

func mermaidNode(service string) string {
	if id := mermaidID(service); id != service {
		return id + "[" + strconv.Quote(service) + "]"
	}
	return service
}

func graphDot(w io.Writer, m *manifest.Workspace) {
	fmt.Fprintf(w, "digraph %q {\n  rankdir=LR\n  %s [shape=box,label=gateway]\n", m.Name, gatewayNode)
	for _, s := range m.Services {
		fmt.Fprintf(w, "  %q\n", s.Name)
		if len(s.Routes) > 0 {
			fmt.Fprintf(w, "  %s -> %q\n", gatewayNode, s.Name)
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
