package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/ebef7166/mesh/scaffold"
)

// listTemplates prints the templates there are.
func listTemplates(d *deps, out *output) error {
	list := scaffold.Templates()
	return out.print(d.streams.Out, list, func(w io.Writer) {
		fmt.Fprintln(w, "TEMPLATE\tDATABASE\tDESCRIPTION")
		for _, t := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.Database, t.Description)
		}
	})
}

func templateNames() (names []string) {
	for _, t := range scaffold.Templates() {
		names = append(names, t.Name)
	}
	return names
}

// resolve takes path as seen from the folder that -C names.
func resolve(d *deps, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.dir, path)
}
