package manifest

import (
	_ "embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
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

// decode checks the document against the type of out, every problem at once, and
// decodes it into out, but for what has problems: dropped says what that is.
// required are the keys that must be there.
func (s *source) decode(out any, required ...string) Problems {
	var value any
	s.dropped = nil
	if err := toValue(s.root, &value); err != nil {
		s.dropped = [][]any{nil}
		return Problems{syntaxProblem(s.file, err)}
	}
	v := &validator{source: s, fields: map[reflect.Type]map[string]reflect.StructField{}}
	v.check(nil, value, reflect.TypeOf(out).Elem(), "")
	v.missing(value, required)
	if len(v.problems) > 0 {
		s.decodeRest(out, v.faults)
		return v.problems
	}
	if err := toValue(s.root, out); err != nil {
		s.dropped = [][]any{nil}
		return Problems{syntaxProblem(s.file, err)}
	}
	return nil
}

// toValue decodes a tree. Keys that stand twice are refused by the parser; here they are
// a merge's and the mapping's own.
func toValue(n ast.Node, out any) error { return yaml.NodeToValue(n, out, yaml.AllowDuplicateMapKey()) }

// decodeRest decodes what has no faults, so that more may be said of it.
func (s *source) decodeRest(out any, faults [][]any) {
	rest, err := parseSource(s.file, s.data) // the tree is cut
	for _, path := range faults {
		if err == nil {
			s.dropped = append(s.dropped, cut(rest.root, section(path)))
		}
	}
	if err == nil {
		err = toValue(rest.root, out)
	}
	if err != nil {
		reflect.ValueOf(out).Elem().SetZero()
		s.dropped = [][]any{nil}
	}
}

// section is how much is left out for a fault: what stands beside it would not be
// understood without it.
func section(path []any) []any {
	depth := 1
	if len(path) > 0 && path[0] == "gateway" {
		depth = 2
	}
	if len(path) > 0 && path[0] == "services" {
		depth = 3 // a key of one of them
	}
	return path[:min(len(path), depth)]
}

// cut takes the key at path out of a tree, or the nearest one above that is a
// mapping's, and says which.
func cut(n ast.Node, path []any) []any {
	m, ok := resolve(n).(*ast.MappingNode)
	if !ok || len(path) == 0 {
		return nil
	}
	i := slices.IndexFunc(m.Values, func(pair *ast.MappingValueNode) bool { return pair.Key.GetToken().Value == path[0] })
	if i < 0 {
		return path[:1] // cut already
	}
	if below := cut(m.Values[i].Value, path[1:]); below != nil {
		return append([]any{path[0]}, below...)
	}
	m.Values = slices.Delete(m.Values, i, i+1)
	return path[:1]
}

// validator holds a decoded document against a Go type: what the JSON Schema
// says of it too. A validator of JSON Schemas was measured to cost a quarter of
// the start of every command, and says less about what is wrong; a test holds
// that both agree.
type validator struct {
	*source
	problems Problems
	faults   [][]any // where they are
	fields   map[reflect.Type]map[string]reflect.StructField
}

func (v *validator) fail(path []any, format string, args ...any) {
	v.problems = append(v.problems, v.problem(path, format, args...))
	v.faults = append(v.faults, slices.Clone(path))
}

func (v *validator) missing(value any, required []string) {
	object, ok := value.(map[string]any)
	if !ok {
		return
	}
	required = slices.DeleteFunc(slices.Clone(required), func(key string) bool { _, there := object[key]; return there })
	if len(required) > 0 {
		v.problems = append(v.problems, v.problem(nil, "missing %s: %s", plural("key", len(required)), strings.Join(required, ", ")))
	}
}

// check holds a value against a type; tag is the field's, with its bounds.
func (v *validator) check(path []any, value any, t reflect.Type, tag reflect.StructTag) {
	switch t {
	case reflect.TypeFor[Duration]():
		v.duration(path, value)
		return
	case reflect.TypeFor[Strings](), reflect.TypeFor[Command]():
		v.list(path, value, reflect.TypeFor[string](), "string")
		return
	case reflect.TypeFor[Dependencies]():
		v.dependencies(path, value)
		return
	case reflect.TypeFor[ServiceSet]():
		v.services(path, value)
		return
	case reflect.TypeFor[Port]():
		if _, ok := value.(string); ok {
			return
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		v.check(path, value, t.Elem(), tag)
	case reflect.Struct:
		v.object(path, value, t)
	case reflect.Slice:
		v.list(path, value, t.Elem())
	case reflect.Map:
		v.mapping(path, value, t.Elem())
	case reflect.Interface:
	default:
		v.scalar(path, value, t, tag)
	}
}

// is reports whether value has one of these kinds, and says so where it has not.
func (v *validator) is(path []any, value any, kinds ...string) bool {
	if slices.Contains(kinds, kindOf(value)) || kindOf(value) == "integer" && slices.Contains(kinds, "number") {
		return true
	}
	v.fail(path, "%s is %s; it takes %s", dotted(path), article(kindOf(value)), article(kinds...))
	return false
}

func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int, int64, uint64:
		return "integer"
	case float64:
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

func (v *validator) duration(path []any, value any) {
	if kind := kindOf(value); kind == "integer" || kind == "number" {
		v.fail(path, "%s is %v, a number without a unit: write it as %vs", dotted(path), value, value)
		return
	}
	if !v.is(path, value, "string") {
		return
	}
	if d, err := time.ParseDuration(value.(string)); err != nil || d < 0 {
		v.fail(path, "%s is %q, which is no duration: write it as 500ms, 2s or 1m30s", dotted(path), value)
	}
}

// list holds a list of elem; also are kinds that may stand in its place.
func (v *validator) list(path []any, value any, elem reflect.Type, also ...string) {
	if !v.is(path, value, append(also, "array")...) {
		return
	}
	items, _ := value.([]any)
	for i, item := range items {
		v.check(append(slices.Clone(path), i), item, elem, "")
	}
}

func (v *validator) dependencies(path []any, value any) {
	v.list(path, value, reflect.TypeFor[string](), "object")
	object, _ := value.(map[string]any)
	for name, condition := range object {
		at := append(slices.Clone(path), name)
		if kindOf(condition) == "object" {
			v.object(at, condition, reflect.TypeFor[dependencyObject]())
		} else {
			v.is(at, condition, "string", "object")
		}
	}
}

func (v *validator) services(path []any, value any) {
	v.list(path, value, reflect.TypeFor[string](), "object")
	object, _ := value.(map[string]any)
	for name, service := range object {
		if service != nil {
			v.check(append(slices.Clone(path), name), service, reflect.TypeFor[Service](), "")
		}
	}
}

func (v *validator) mapping(path []any, value any, elem reflect.Type) {
	if !v.is(path, value, "object") {
		return
	}
	for key, item := range value.(map[string]any) {
		at := append(slices.Clone(path), key)
		if elem.Kind() == reflect.String {
			v.is(at, item, "string", "number", "boolean") // YAML's scalars all read as text
		} else {
			v.check(at, item, elem, "")
		}
	}
}

func (v *validator) object(path []any, value any, t reflect.Type) {
	if !v.is(path, value, "object") {
		return
	}
	fields := v.fieldsOf(t)
	for key, item := range value.(map[string]any) {
		at := append(slices.Clone(path), key)
		if f, ok := fields[key]; ok {
			v.check(at, item, f.Type, f.Tag)
			continue
		}
		v.problems = append(v.problems, v.problemKey(at, "%s", unknownKey(key, dotted(path), slices.Sorted(maps.Keys(fields)))))
		v.faults = append(v.faults, at)
	}
}

// fieldsOf are the fields of a struct by their key. They are kept: a workspace
// may have a thousand services.
func (v *validator) fieldsOf(t reflect.Type) map[string]reflect.StructField {
	if fields := v.fields[t]; fields != nil {
		return fields
	}
	fields := map[string]reflect.StructField{}
	v.fields[t] = fields
	for f := range t.Fields() {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" && key != "-" {
			fields[key] = f
		}
	}
	return fields
}

func (v *validator) scalar(path []any, value any, t reflect.Type, tag reflect.StructTag) {
	kind := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "number"}[t.Kind()]
	if kind == "" {
		kind = "integer"
	}
	if !v.is(path, value, kind) {
		return
	}
	var enum []string
	for rule := range strings.SplitSeq(tag.Get("jsonschema"), ",") {
		name, bound, _ := strings.Cut(rule, "=")
		switch name {
		case "enum":
			enum = append(enum, bound)
		case "minimum", "maximum":
			v.bound(path, value, name, bound)
		}
	}
	if len(enum) > 0 && !slices.Contains(enum, fmt.Sprint(value)) {
		v.fail(path, "%s is %s; it takes %s", dotted(path), quoted(value), strings.Join(enum, ", "))
	}
}

func (v *validator) bound(path []any, value any, name, text string) {
	bound, err := strconv.Atoi(text)
	got, e := strconv.ParseFloat(fmt.Sprint(value), 64)
	if err != nil || e != nil {
		return // the tag and the type are ours, and tested
	}
	if name == "minimum" && got < float64(bound) {
		v.fail(path, "%s is %v; it takes at least %d", dotted(path), value, bound)
	}
	if name == "maximum" && got > float64(bound) {
		v.fail(path, "%s is %v; it takes at most %d", dotted(path), value, bound)
	}
}

func dotted(path []any) string {
	if len(path) == 0 {
		return "the manifest"
	}
	words := make([]string, len(path))
	for i, step := range path {
		words[i] = fmt.Sprint(step)
	}
	return strings.Join(words, ".")
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

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
