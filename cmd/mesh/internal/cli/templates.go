package cli

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"text/tabwriter"

	"github.com/goccy/go-yaml"

	"github.com/ebef7166/mesh/scaffold"
)

// listTemplates prints the templates there are as a table, JSON or YAML.
func listTemplates(d *deps, output string) error {
	list := scaffold.Templates()
	switch output {
	case "json":
		encoder := json.NewEncoder(d.streams.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(list)
	case "yaml":
		return yaml.NewEncoder(d.streams.Out).Encode(list)
	case "table", "":
		w := tabwriter.NewWriter(d.streams.Out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "TEMPLATE\tDATABASE\tDESCRIPTION")
		for _, t := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.Database, t.Description)
		}
		return w.Flush()
	}
	return usageError("-o %s: want table, json or yaml", output)
}

// resolve takes path as seen from the folder that -C names.
func resolve(d *deps, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}
