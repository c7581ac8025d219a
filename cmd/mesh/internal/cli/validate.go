package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
)

// newValidate is `mesh validate`.
func newValidate(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "validate", Short: "Check the manifests", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			set, err := loadSettings()
			if err != nil {
				return err
			}
			_, m, err := d.workspace()
			if err != nil {
				return err
			}
			m.UseDriver(set.driver)
			if _, err := readChecks(m); err != nil {
				return err
			}
			if err := readVariables(m); err != nil {
				return err
			}
			d.remark(remarks{Warnings: warnings(m)})
			d.say(fmt.Sprintf("%s: %s, all valid", m.Name, counted(len(m.Services), "service")))
			return nil
		},
	}
}

// readVariables finds what is wrong with files of variables: services whose files those
// are cannot be started.
func readVariables(m *manifest.Workspace) error {
	var wrong []string
	for _, s := range m.Services {
		if _, err := m.FileVariables(s); err != nil && !slices.Contains(wrong, err.Error()) {
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return &failure{err: errors.New(strings.Join(wrong, "\n")), next: "mesh validate checks again", code: exitUsage}
}

// newSchema is `mesh schema`.
func newSchema(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "schema [workspace|service]", Short: "Print the JSON Schemas of the manifests", Args: cobra.MaximumNArgs(1),
		ValidArgs: []string{"workspace", "service"},
		RunE: func(_ *cobra.Command, args []string) error {
			both := map[string]json.RawMessage{"workspace": manifest.WorkspaceSchema, "service": manifest.ServiceSchema}
			if len(args) == 0 {
				enc := json.NewEncoder(d.streams.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(both)
			}
			schema, ok := both[args[0]]
			if !ok {
				return usageError("no schema is called %q: workspace or service", args[0])
			}
			_, err := d.streams.Out.Write(schema)
			return err
		},
	}
}

// newVersion is `mesh version`.
func newVersion(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return out.print(d.streams.Out, map[string]string{"version": buildVersion()}, func(w io.Writer) {
				fmt.Fprintln(w, "mesh", buildVersion())
			})
		},
	}
	out.flag(cmd)
	return cmd
}
