package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Problem is one thing that is wrong with a manifest, and where.
type Problem struct {
	File    string `json:"file"` // as given to Load, below the workspace
	Line    int    `json:"line"` // from 1; 0 where the whole file is meant
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
}

// Problems is every problem of a workspace, sorted by place.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// orNil is the problems as an error, sorted, or nil when there are none.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(p)
}

// source is a manifest's text, parsed, so that a path can be turned into a
// position.
type source struct {
	file string // as messages name it
	data []byte
	root ast.Node
	over *source // what is laid over it; nil: nothing

	dropped [][]any // what decode left out; an empty path: all of it
}

// of is the source that path is from: the one laid over where it says it.
func (s *source) of(path []any) *source {
	if s.over != nil {
		if _, _, found := s.over.lookup(path); found {
			return s.over
		}
	}
	return s
}

func readSource(path, name string) (*source, error) {
	// Opening anything else, such as a pipe, may never return.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, Problems{{File: name, Message: "is not a regular file"}}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, Problems{{File: name, Message: readFailure(err)}}
	}
	return parseSource(name, data)
}

func readFailure(err error) string {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return "cannot be read: " + pathError.Err.Error()
	}
	return err.Error()
}

// emptySource is the problem of a file with nothing in it but comments.
type emptySource struct{ Problems }

func (e emptySource) Unwrap() error { return e.Problems }

func parseSource(name string, data []byte) (*source, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, Problems{syntaxProblem(name, err)}
	}
	s := &source{file: name, data: data}
	if len(file.Docs) > 1 {
		return nil, Problems{s.problemAt(file.Docs[1].Body, "one document only: a second one starts here")}
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, emptySource{Problems{{File: name, Message: "is empty"}}}
	}
	s.root = file.Docs[0].Body
	ast.Walk(mergesFirst{}, s.root)
	return s, nil
}

// mergesFirst puts what a mapping merges before its own keys, which are to win wherever
// they stand (https://yaml.org/type/merge.html): the decoder takes the last.
type mergesFirst struct{}

func (m mergesFirst) Visit(n ast.Node) ast.Visitor {
	if mapping, ok := n.(*ast.MappingNode); ok {
		slices.SortStableFunc(mapping.Values, func(a, b *ast.MappingValueNode) int {
			switch {
			case a.Key.IsMergeKey() == b.Key.IsMergeKey():
				return 0
			case a.Key.IsMergeKey():
				return -1
			}
			return 1
		})
	}
	return m
}

func syntaxProblem(name string, err error) Problem {
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		at := syntax.GetToken().Position
		return Problem{File: name, Line: at.Line, Column: at.Column, Message: syntax.GetMessage()}
	}
	return Problem{File: name, Message: err.Error()}
}

func (s *source) problemAt(n ast.Node, format string, args ...any) Problem {
	p := Problem{File: s.file, Message: fmt.Sprintf(format, args...)}
	if n != nil && n.GetToken() != nil {
		p.Line, p.Column = n.GetToken().Position.Line, n.GetToken().Position.Column
	}
	return p
}

// problem points at the value at path, or at the nearest thing above it that
// exists. A path is of strings (keys) and ints (indexes).
func (s *source) problem(path []any, format string, args ...any) Problem {
	s = s.of(path)
	_, value := s.find(path)
	return s.problemAt(value, format, args...)
}

// problemKey points at the key at path rather than at its value.
func (s *source) problemKey(path []any, format string, args ...any) Problem {
	s = s.of(path)
	key, _ := s.find(path)
	return s.problemAt(key, format, args...)
}

func (s *source) position(path []any) string {
	p := s.problem(path, "")
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// find walks path as far as it goes.
func (s *source) find(path []any) (key, value ast.Node) {
	key, value, _ = s.lookup(path)
	return key, value
}

// part is what stands at a path, as a source of its own.
func (s *source) part(path ...any) *source {
	at := s.root
	for _, step := range path {
		_, at = child(at, step)
	}
	return &source{file: s.file, data: s.data, root: at}
}

// has reports that something stands at a path, here or in what is laid over.
func (s *source) has(path []any) bool {
	_, _, found := s.of(path).lookup(path)
	return found
}

// lookup is find, and reports whether it went all the way.
func (s *source) lookup(path []any) (key, value ast.Node, found bool) {
	key, value = s.root, s.root
	for _, step := range path {
		k, v := child(value, step)
		if v == nil {
			return key, value, false
		}
		key, value = k, v
	}
	return key, startOf(value), true
}

// startOf is where a person sees a node begin: a mapping at its first key.
func startOf(n ast.Node) ast.Node {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return m.Values[0].Key
	}
	return n
}

func child(n ast.Node, step any) (key, value ast.Node) {
	switch n := resolve(n).(type) {
	case *ast.MappingNode:
		for _, pair := range n.Values {
			if pair.Key.GetToken().Value == step {
				return pair.Key, pair.Value
			}
		}
	case *ast.MappingValueNode:
		if n.Key.GetToken().Value == step {
			return n.Key, n.Value
		}
	case *ast.SequenceNode:
		if i, ok := step.(int); ok && i < len(n.Values) {
			return n.Values[i], n.Values[i]
		}
	}
	return nil, nil
}

func resolve(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		return resolve(n.Value)
	case *ast.TagNode:
		return resolve(n.Value)
	}
	return n
}

// Find walks up from dir to the nearest folder with a mesh.yaml and returns it,
// absolute.
func Find(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := start; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, WorkspaceFile)); err == nil && !info.IsDir() {
			return at, nil
		}
		if filepath.Dir(at) == at {
			return "", fmt.Errorf("%w: no %s in %s or above it", ErrNoWorkspace, WorkspaceFile, start)
		}
	}
}

// ErrNoWorkspace says that no mesh.yaml was found.
var ErrNoWorkspace = errors.New("no workspace")
