package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"golang.org/x/tools/txtar"
)

//go:embed examples.txtar
var examples []byte

// reference is docs/manifest.md: a table of keys for each object.
func reference(workspace, service *jsonschema.Schema) []byte {
	var b bytes.Buffer
	b.WriteString("# Manifest reference\n\nGenerated from the schema (`make golden`); `mesh schema` prints the schema itself.\n")
	section(&b, workspace.Title, workspace)
	section(&b, service.Title, service)
	names := make([]string, 0, len(service.Definitions))
	all := map[string]*jsonschema.Schema{}
	for _, defs := range []jsonschema.Definitions{workspace.Definitions, service.Definitions} {
		for name, s := range defs {
			if name != "Service" && name != "Document" && all[name] == nil {
				all[name] = s
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		section(&b, name, all[name])
	}
	return b.Bytes()
}

func section(b *bytes.Buffer, title string, s *jsonschema.Schema) {
	if s.Properties == nil || s.Properties.Len() == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	if s.Description != "" {
		fmt.Fprintf(b, "%s\n\n", s.Description)
	}
	b.WriteString("| key | type | meaning |\n|---|---|---|\n")
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", pair.Key, kind(pair.Value), meaning(pair.Value))
	}
	example(b, title)
}

// example shows what the archive has under the section's title, if anything.
func example(b *bytes.Buffer, title string) {
	for _, f := range txtar.Parse(examples).Files {
		if f.Name == title {
			fmt.Fprintf(b, "\n```yaml\n%s```\n", bytes.ReplaceAll(f.Data, []byte("---\n"), []byte("```\n\n```yaml\n")))
		}
	}
}

func kind(s *jsonschema.Schema) string {
	switch {
	case s.Ref != "":
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		if name == "Service" {
			return "[keys of a service](#meshserviceyaml)"
		}
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	case s.Type == "array" && s.Items != nil:
		return "list of " + kind(s.Items)
	case s.Extras["type"] != nil:
		return strings.Join(s.Extras["type"].([]string), " or ")
	case s.Pattern != "":
		return "duration"
	case s.Type == "":
		return "any"
	}
	return s.Type
}

func meaning(s *jsonschema.Schema) string {
	text := strings.ReplaceAll(strings.ReplaceAll(s.Description, "\n", " "), "|", "\\|")
	if len(s.Enum) == 0 {
		return text
	}
	words := make([]string, len(s.Enum))
	for i, v := range s.Enum {
		words[i] = fmt.Sprintf("`%v`", v)
	}
	return strings.TrimSpace(text + " One of " + strings.Join(words, ", ") + ".")
}
