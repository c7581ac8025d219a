// Command genschema writes the JSON Schemas of the manifests, and the reference
// page made from them, from the types in package manifest and their comments.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"log"
	"os"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/ebef7166/mesh/manifest"
)

const module = "github.com/ebef7166/mesh"

func main() {
	log.SetFlags(0)
	check := flag.Bool("check", false, "write nothing; fail when a file is not current")
	flag.Parse()
	write := write
	if *check {
		write = compare
	}
	workspace, service := reflected(&manifest.Document{}), reflected(&manifest.Service{})
	workspace.Title, service.Title = manifest.WorkspaceFile, manifest.ServiceFile
	service.Required = []string{"version", "name"}
	write("schema/workspace.json", encode(workspace))
	write("schema/service.json", encode(service))
	write("../docs/manifest.md", reference(workspace, service))
}

func reflected(v any) *jsonschema.Schema {
	r := &jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		ExpandedStruct:             true,
		Mapper:                     union,
	}
	if err := r.AddGoComments(module+"/manifest", "."); err != nil {
		log.Fatal(err)
	}
	s := r.Reflect(v)
	s.ID = ""
	return s
}

// union writes the types that take more than one shape. The keywords of arrays
// and objects apply to their own type only, so no anyOf is needed and a message
// names the value that is wrong rather than the alternatives.
func union(t reflect.Type) *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	condition := &jsonschema.Schema{Extras: map[string]any{"type": []string{"string", "object"}}, Enum: nil}
	switch t {
	case reflect.TypeFor[manifest.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case reflect.TypeFor[manifest.Strings](), reflect.TypeFor[manifest.Command]():
		return &jsonschema.Schema{Extras: types("string", "array"), Items: text}
	case reflect.TypeFor[manifest.Dependencies]():
		return &jsonschema.Schema{Extras: types("array", "object"), Items: text, AdditionalProperties: condition}
	case reflect.TypeFor[manifest.ServiceSet]():
		return &jsonschema.Schema{Extras: types("array", "object"), Items: text,
			AdditionalProperties: &jsonschema.Schema{Ref: "#/$defs/Service"}}
	case reflect.TypeFor[manifest.Port]():
		return &jsonschema.Schema{Extras: types("string", "object")}
	case reflect.TypeFor[map[string]string]():
		return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{
			Extras: types("string", "number", "boolean")}}
	}
	return nil
}

func types(names ...string) map[string]any { return map[string]any{"type": names} }

func encode(s *jsonschema.Schema) []byte {
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		log.Fatal(err)
	}
	return append(out, '\n')
}

func compare(name string, data []byte) {
	old, err := os.ReadFile(name)
	if err != nil {
		log.Fatal(err)
	}
	if !bytes.Equal(old, data) {
		log.Fatalf("%s is not current: make golden", name)
	}
}

func write(name string, data []byte) {
	if err := os.WriteFile(name, data, 0o644); err != nil {
		log.Fatal(err)
	}
}
