package manifest

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:generate go run ./internal/genschema

// WorkspaceSchema and ServiceSchema are the JSON Schemas (draft 2020-12) of the
// two manifests.
var (
	//go:embed schema/workspace.json
	WorkspaceSchema []byte
	//go:embed schema/service.json
	ServiceSchema []byte
)

// compiled turns a schema's text into a validator, once.
func compiled(text []byte) func() *jsonschema.Schema {
	return sync.OnceValue(func() *jsonschema.Schema {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			panic("manifest: embedded schema: " + err.Error())
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("manifest.json", doc); err != nil {
			panic("manifest: embedded schema: " + err.Error())
		}
		return c.MustCompile("manifest.json")
	})
}

var (
	workspaceSchema = compiled(WorkspaceSchema)
	serviceSchema   = compiled(ServiceSchema)
)

// decode checks the document against the schema, every problem at once, and
// then decodes it into out.
func (s *source) decode(schema *jsonschema.Schema, out any) Problems {
	var value any
	if err := yaml.NodeToValue(s.root, &value); err != nil {
		return Problems{syntaxProblem(s.file, err)}
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(plain(value)); errors.As(err, &invalid) {
		return s.translate(invalid, func(e *jsonschema.ValidationError) []string { return keysAt(schema, e.InstanceLocation) })
	} else if err != nil {
		return Problems{{File: s.file, Message: err.Error()}}
	}
	if err := yaml.NodeToValue(s.root, out); err != nil {
		return Problems{syntaxProblem(s.file, err)}
	}
	return nil
}

// plain turns YAML's integers into those that the validator knows.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = plain(item)
		}
	case []any:
		for i, item := range v {
			v[i] = plain(item)
		}
	case uint64:
		return int64(v)
	}
	return v
}

// keysAt are the keys that the object at an instance location may have.
func keysAt(s *jsonschema.Schema, location []string) []string {
	for s.Ref != nil {
		s = s.Ref
	}
	if len(location) == 0 {
		keys := make([]string, 0, len(s.Properties))
		for key := range s.Properties {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		return keys
	}
	if next, ok := s.Properties[location[0]]; ok {
		return keysAt(next, location[1:])
	}
	if next, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		return keysAt(next, location[1:])
	}
	if next, ok := s.Items2020, s.Items2020 != nil; ok {
		return keysAt(next, location[1:])
	}
	return nil
}

// translate says each leaf of a validation error in words of its own.
func (s *source) translate(e *jsonschema.ValidationError, keys func(*jsonschema.ValidationError) []string) Problems {
	if len(e.Causes) > 0 {
		var all Problems
		for _, cause := range e.Causes {
			all = append(all, s.translate(cause, keys)...)
		}
		return all
	}
	path := s.path(e.InstanceLocation)
	where := dotted(e.InstanceLocation)
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		var all Problems
		for _, name := range k.Properties {
			all = append(all, s.problemKey(append(path, name), "%s", unknownKey(name, where, keys(e))))
		}
		return all
	case *kind.Type:
		return Problems{s.problem(path, "%s is %s; it takes %s", where, article(k.Got), article(k.Want...))}
	case *kind.Enum:
		return Problems{s.problem(path, "%s is %v; it takes %s", where, quoted(k.Got), alternatives(k.Want))}
	case *kind.Required:
		return Problems{s.problem(path, "%s is missing: %s", plural("key", len(k.Missing)), strings.Join(k.Missing, ", "))}
	case *kind.Pattern:
		return Problems{s.problem(path, "%s is %q, which is no duration: write it as 500ms, 2s or 1m30s", where, k.Got)}
	}
	return Problems{s.problem(path, "%s: %s", where, strings.TrimPrefix(e.Error(), "jsonschema validation failed"))}
}

// path turns an instance location into the steps that find takes: a number is
// an index where the document has a list.
func (s *source) path(location []string) []any {
	path := make([]any, 0, len(location)+1)
	for _, step := range location {
		if i, err := strconv.Atoi(step); err == nil {
			if _, v := s.find(path); v != nil && strings.HasSuffix(v.Type().String(), "Sequence") {
				path = append(path, i)
				continue
			}
		}
		path = append(path, step)
	}
	return path
}

func dotted(location []string) string {
	if len(location) == 0 {
		return "the manifest"
	}
	return strings.Join(location, ".")
}

func article(kinds ...string) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		switch k {
		case "null":
			words[i] = "nothing"
		case "array":
			words[i] = "a list"
		case "object":
			words[i] = "a map"
		case "integer":
			words[i] = "a whole number"
		default:
			words[i] = "a " + k
		}
	}
	return strings.Join(words, " or ")
}

func quoted(v any) string {
	if text, ok := v.(string); ok {
		return strconv.Quote(text)
	}
	return fmt.Sprint(v)
}

func alternatives(want []any) string {
	words := make([]string, len(want))
	for i, w := range want {
		words[i] = fmt.Sprint(w)
	}
	return strings.Join(words, ", ")
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// composeNames gives mesh's name for a key of Compose's.
var composeNames = map[string]string{
	"command": "run", "entrypoint": "run", "environment": "env", "healthcheck": "health",
	"restart_policy": "restart", "stop_grace_period": "stop.grace", "stop_signal": "stop.signal",
	"scale": "replicas", "expose": "port", "working_dir": "dir", "mem_limit": "resources.memory",
	"cpus": "resources.cpus", "deploy": "replicas and resources", "container_name": "name",
	"links": "calls", "networks": "calls", "test": "command or http", "retries": "threshold",
	"start_period": "threshold", "timeout_seconds": "timeout",
}

func unknownKey(name, where string, known []string) string {
	in := ""
	if where != "the manifest" {
		in = " in " + where
	}
	if ours, ok := composeNames[name]; ok && !slices.Contains(known, name) {
		return fmt.Sprintf("unknown key %q%s: that is Compose's; mesh calls it %s", name, in, ours)
	}
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("unknown key %q%s; did you mean %q?", name, in, near)
	}
	return fmt.Sprintf("unknown key %q%s; it may be one of %s", name, in, strings.Join(known, ", "))
}

// nearest is the candidate at most two edits away from name, or "".
func nearest(name string, candidates []string) string {
	best, distance := "", 3
	for _, c := range candidates {
		if d := editDistance(name, c); d < distance && d < len(c) {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// localSchema is the workspace's, with nothing required: mesh.local.yaml says
// only what differs.
var localSchema = sync.OnceValue(func() *jsonschema.Schema {
	s := *workspaceSchema()
	s.Required = nil
	return &s
})
