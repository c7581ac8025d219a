package adopt

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/ebef7166/mesh/manifest"
)

// source is the text of one Compose file, for positions.
type source struct {
	name    string
	root    ast.Node
	anchors map[string]ast.Node
}

// Visit implements ast.Visitor: it finds the anchors.
func (s *source) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok {
		s.anchors[anchor.Name.GetToken().Value] = anchor.Value
	}
	return s
}

// node is a value of Compose files that were laid over each other, and its place.
type node struct {
	sources []*source // the last one wins
	path    []any     // keys and indexes
	value   any
}

// readFiles reads Compose files, each laid over those before it.
func readFiles(paths, names []string) (node, error) {
	n := node{value: map[string]any{}}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return n, err
		}
		file, err := parser.ParseBytes(data, 0)
		if err != nil {
			return n, syntaxProblem(names[i], err)
		}
		var value map[string]any
		if err := yaml.Unmarshal(data, &value); err != nil {
			return n, syntaxProblem(names[i], err)
		}
		if len(file.Docs) > 0 {
			s := &source{names[i], file.Docs[0].Body, map[string]ast.Node{}}
			if s.root != nil {
				ast.Walk(s, s.root)
			}
			n.sources = append(n.sources, s)
		}
		n.value = lay(n.value, value, nil)
	}
	return n, nil
}

func syntaxProblem(name string, err error) error {
	p := manifest.Problem{File: name, Message: err.Error()}
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		at := syntax.GetToken().Position
		p.Line, p.Column, p.Message = at.Line, at.Column, syntax.GetMessage()
	}
	return manifest.Problems{p}
}

// appended are the lists of a service that a later file adds to; other lists it
// replaces.
var appended = []string{"ports", "expose", "volumes", "depends_on", "env_file", "profiles"}

// lay lays over onto base, as Compose does with several files.
func lay(base, over any, path []string) any {
	switch over := over.(type) {
	case map[string]any:
		below, ok := asMap(base)
		if !ok {
			return over
		}
		merged := maps.Clone(below)
		for key, value := range over {
			merged[key] = lay(merged[key], value, append(slices.Clone(path), key))
		}
		return merged
	case []any:
		list, ok := base.([]any)
		if len(path) != 3 {
			return over
		}
		if path[2] == "environment" && base != nil {
			return lay(base, pairs(over), path)
		}
		if ok && slices.Contains(appended, path[2]) {
			return slices.Concat(list, over)
		}
	}
	return over
}

// asMap is a map, or the list of KEY=VALUE that Compose takes in its place.
func asMap(value any) (map[string]any, bool) {
	switch value := value.(type) {
	case map[string]any:
		return value, true
	case []any:
		return pairs(value), true
	}
	return nil, false
}

func (n node) get(key string) node {
	out := node{sources: n.sources, path: append(slices.Clone(n.path), key)}
	if m, ok := n.value.(map[string]any); ok {
		out.value = m[key]
	}
	return out
}

// keys of a mapping, sorted.
func (n node) keys() []string {
	m, _ := n.value.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

// items of a list; a single value is a list of one.
func (n node) items() []node {
	list, ok := n.value.([]any)
	if !ok {
		if n.value == nil {
			return nil
		}
		return []node{n}
	}
	var out []node
	for i, value := range list {
		out = append(out, node{n.sources, append(slices.Clone(n.path), i), value})
	}
	return out
}

// text of a scalar; "" where there is none.
func (n node) text() string {
	switch n.value.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	return fmt.Sprint(n.value)
}

// texts of a list of scalars.
func (n node) texts() []string {
	var out []string
	for _, item := range n.items() {
		out = append(out, item.text())
	}
	return out
}

// problem says something about the place of the node, or of the nearest one above
// it that is written down.
func (n node) problem(format string, args ...any) manifest.Problem {
	p := manifest.Problem{Message: fmt.Sprintf(format, args...)}
	deepest := -1
	for _, s := range slices.Backward(n.sources) {
		if at, depth := s.find(n.path); depth > deepest {
			deepest = depth
			p.File, p.Line, p.Column = s.name, at.GetToken().Position.Line, at.GetToken().Position.Column
		}
	}
	return p
}

// find goes along path as far as it leads: the key that stands there, and how far
// that was.
func (s *source) find(path []any) (at ast.Node, depth int) {
	if s.root == nil {
		return nil, -1
	}
	at, value := s.root, s.root
	for _, step := range path {
		key, next := s.child(value, step, 0)
		if next == nil {
			return at, depth
		}
		at, value, depth = key, next, depth+1
	}
	return at, depth
}

// deepestAlias bounds aliases in aliases, which may go in a circle.
const deepestAlias = 20

func (s *source) child(n ast.Node, step any, aliases int) (key, value ast.Node) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		return s.child(n.Value, step, aliases)
	case *ast.TagNode:
		return s.child(n.Value, step, aliases)
	case *ast.AliasNode:
		if to := s.anchors[n.Value.GetToken().Value]; to != nil && aliases < deepestAlias {
			return s.child(to, step, aliases+1)
		}
	case *ast.MappingNode:
		return s.ofMapping(n.Values, step, aliases)
	case *ast.MappingValueNode:
		return s.ofMapping([]*ast.MappingValueNode{n}, step, aliases)
	case *ast.SequenceNode:
		return ofList(n.Values, step)
	}
	return nil, nil
}

// ofMapping finds a key, or failing that one that is merged in.
func (s *source) ofMapping(values []*ast.MappingValueNode, step any, aliases int) (key, value ast.Node) {
	for _, pair := range values {
		if pair.Key.GetToken().Value == step {
			return pair.Key, pair.Value
		}
	}
	for _, pair := range values {
		if pair.Key.IsMergeKey() {
			if key, value = s.child(pair.Value, step, aliases); value != nil {
				return key, value
			}
		}
	}
	return nil, nil
}

// ofList finds an item by its index, or KEY=VALUE by its key.
func ofList(items []ast.Node, step any) (key, value ast.Node) {
	if i, ok := step.(int); ok && i < len(items) {
		return items[i], items[i]
	}
	for _, item := range items {
		if text, ok := step.(string); ok && keyOf(item.GetToken().Value) == text {
			return item, item
		}
	}
	return nil, nil
}
