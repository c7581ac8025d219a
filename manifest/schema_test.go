package manifest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/tools/txtar"
)

func compile(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("manifest.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("manifest.json")
}

// plainNumbers turns YAML's integers into those that the validator knows.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = plainNumbers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = plainNumbers(item)
		}
	case uint64:
		return int64(v)
	}
	return v
}

// TestSchemaAgrees holds that an editor, which has the JSON Schema, and mesh,
// which has the types, say the same of a document.
func TestSchemaAgrees(t *testing.T) {
	workspace, service := compile(t, WorkspaceSchema), compile(t, ServiceSchema)
	files := txtar.Parse([]byte(shop)).Files
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, a.Files...)
	}
	for _, text := range []string{
		"version: 2\nname: a\n", "version: 1\n", "name: a\n", "[]\n", "version: 1\nname: a\nreplicas: 101\n", "version: 1\nname: a\nport: 0\n",
		"version: 1\nname: a\nrun: [a, 1]\n", "version: 1\nname: a\nenv: {A: 1, B: true, C: [x]}\n", "version: 1\nname: a\nports: {admin: ADMIN_PORT, db: {protocol: tcp}}\n",
		"version: 1\nname: a\nhealth: {http: /x, interval: -1s}\n", "version: 1\nname: a\ndepends_on: {b: null}\n", "version: 1\nname: a\ncalls: null\n",
		"version: 1\nname: a\nresources: {cpus: 1, memory: 1GiB}\n", "version: 1\nname: a\nresources: {cpus: 0.5}\n", "version: 1\nname: a\nresources: {cpus: -0.5}\n", "version: 1\nname: 3\n",
		"version: 1\nname: a\nhealth: {grpc: \"\"}\n", "version: 1\nname: a\nread_only: yes\n", "version: 1\nname: a\nstop: {signal: SIGNOPE}\n",
	} {
		files = append(files, txtar.File{Name: "services/x/" + ServiceFile, Data: []byte(text)})
	}
	for _, f := range files {
		src, err := parseSource(f.Name, f.Data)
		if err != nil || f.Name == "want" || f.Name == LocalFile {
			continue
		}
		var value any
		if err := yaml.NodeToValue(src.root, &value); err != nil {
			t.Fatal(err)
		}
		schema, out := service, any(&Service{})
		if f.Name == WorkspaceFile {
			schema, out = workspace, &Document{}
		}
		ours, theirs := src.decode(out, "version", "name"), schema.Validate(plainNumbers(value))
		if (len(ours) == 0) != (theirs == nil) {
			t.Errorf("%s\nmesh says: %v\nthe schema says: %v", f.Data, ours, theirs)
		}
	}
}

// TestExamplesAreValid holds that mesh takes what the reference page shows.
func TestExamplesAreValid(t *testing.T) {
	archive, err := txtar.ParseFile("internal/genschema/examples.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		for part := range bytes.SplitSeq(f.Data, []byte("---\n")) {
			src, err := parseSource(f.Name, part)
			if err != nil {
				t.Fatal(err)
			}
			out := any(&Service{})
			if bytes.HasPrefix(part, []byte("# "+WorkspaceFile)) {
				out = &Document{}
			}
			if problems := src.decode(out); problems != nil {
				t.Errorf("%v in\n%s", problems, part)
			}
		}
	}
}

// TestSchemaIsCurrent holds that the schemas and the reference page are those
// that the types make.
func TestSchemaIsCurrent(t *testing.T) {
	if *update {
		if out, err := exec.Command("go", "generate", ".").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	out, err := exec.Command("go", "run", "./internal/genschema", "-check").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, strings.TrimSpace(string(out)))
	}
}
