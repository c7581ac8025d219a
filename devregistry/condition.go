package devregistry

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/hashicorp/go-bexpr"
	"github.com/hashicorp/go-bexpr/grammar"
)

// condition is a part of a filter expression. go-bexpr reads the expression and
// compares values. What lies between is here, because Consul has an older release
// of it, in which a selector may lead through a list: Checks.Status == "passing"
// holds when any check passes.
type condition interface {
	holds(s *scope) (bool, error)
}

// scope is what the names of a condition mean.
type scope struct {
	item  reflect.Value
	bound *binding
	// strict has every part looked at, so that one with a name that is not there is
	// found whatever the others say.
	strict bool
}

// binding is a name that any or all gave to an element.
type binding struct {
	name  string
	value reflect.Value
	outer *binding
}

func compile(e grammar.Expression) (condition, error) {
	switch e := e.(type) {
	case *grammar.UnaryExpression:
		of, err := compile(e.Operand)
		return negation{of}, err
	case *grammar.BinaryExpression:
		left, err := compile(e.Left)
		if err != nil {
			return nil, err
		}
		right, err := compile(e.Right)
		return pair{left, right, e.Operator == grammar.BinaryOpOr}, err
	case *grammar.MatchExpression:
		return compileMatch(e)
	case *grammar.CollectionExpression:
		inner, err := compile(e.Inner)
		if b := e.NameBinding; err == nil && b.Index != "" && b.Index == b.Value {
			err = fmt.Errorf("%q is the name of both the index and the value", b.Index)
		}
		return elements{e, inner}, err
	}
	return nil, fmt.Errorf("an expression of type %T is not known", e) // of a later release of the grammar
}

type negation struct{ of condition }

func (n negation) holds(s *scope) (bool, error) {
	ok, err := n.of.holds(s)
	return !ok, err
}

// pair is two conditions with and, or with or, between them.
type pair struct {
	left, right condition
	or          bool
}

func (p pair) holds(s *scope) (bool, error) {
	left, err := p.left.holds(s)
	if err != nil || left == p.or && !s.strict {
		return left, err
	}
	return p.right.holds(s)
}

// match compares what a selector leads to.
type match struct {
	selector grammar.Selector
	operator grammar.MatchOperator
	compare  *bexpr.Evaluator // of one value, which it knows as "value"
}

// comparisons are the operators as they are written; %s is the literal.
var comparisons = map[grammar.MatchOperator]string{
	grammar.MatchEqual:       `value == %s`,
	grammar.MatchNotEqual:    `value != %s`,
	grammar.MatchIn:          `%s in value`,
	grammar.MatchNotIn:       `%s not in value`,
	grammar.MatchContains:    `value contains %s`,
	grammar.MatchNotContains: `value not contains %s`,
	grammar.MatchMatches:     `value matches %s`,
	grammar.MatchNotMatches:  `value not matches %s`,
	grammar.MatchIsEmpty:     `value is empty`,
	grammar.MatchIsNotEmpty:  `value is not empty`,
	grammar.MatchIsNil:       `value is nil`,
	grammar.MatchIsNotNil:    `value is not nil`,
}

func compileMatch(e *grammar.MatchExpression) (condition, error) {
	text, ok := comparisons[e.Operator]
	if !ok {
		return nil, fmt.Errorf("the operator %s is not known", e.Operator)
	}
	if e.Value != nil {
		text = fmt.Sprintf(text, literal(e.Value.Raw))
	}
	compare, err := bexpr.CreateEvaluator(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Selector, err)
	}
	return match{e.Selector, e.Operator, compare}, nil
}

// literal writes a string as the grammar reads it, in which a double quote ends a
// string whatever is before it.
func literal(text string) string {
	quoted := strconv.Quote(text)
	return `"` + strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `\x22`) + `"`
}

func (m match) holds(s *scope) (bool, error) {
	return s.visit(m.selector, func(v reflect.Value) (bool, error) {
		if !v.IsValid() {
			return m.operator.NotPresentDisposition(), nil
		}
		return m.compare.Evaluate(map[string]any{"value": v.Interface()})
	})
}

// elements is any or all over a list or a map.
type elements struct {
	of    *grammar.CollectionExpression
	inner condition
}

func (e elements) holds(s *scope) (bool, error) {
	all := e.of.Op == grammar.CollectionOpAll
	return s.visit(e.of.Selector, func(v reflect.Value) (bool, error) {
		switch v.Kind() {
		case reflect.Invalid: // a key that is not there
			return all, nil
		case reflect.Slice, reflect.Map:
		default:
			return false, errors.New("it is not a list or a map")
		}
		for key, value := range v.Seq2() {
			if ok, err := e.inner.holds(e.bind(s, v.Kind(), key, value)); err != nil || ok != all {
				return ok, err
			}
		}
		return all, nil
	})
}

// bind gives an element its names. A single one is that of a map's key, and of a
// list's value.
func (e elements) bind(s *scope, kind reflect.Kind, key, value reflect.Value) *scope {
	names, inner := e.of.NameBinding, *s
	single := value
	if kind == reflect.Map {
		single = key
	}
	for _, b := range []binding{{name: names.Default, value: single}, {name: names.Index, value: key}, {name: names.Value, value: value}} {
		if b.name != "" {
			inner.bound = &binding{b.name, b.value, inner.bound}
		}
	}
	return &inner
}

// visit asks about what a selector leads to. Through a list it leads to each
// element, and the answer is whether it is yes for any. A key that a map lacks is
// the zero [reflect.Value].
func (s *scope) visit(selector grammar.Selector, ask func(reflect.Value) (bool, error)) (bool, error) {
	v, path := s.item, selector.Path
	for b := s.bound; b != nil && len(path) > 0; b = b.outer {
		if b.name == path[0] {
			v, path = b.value, path[1:]
			break
		}
	}
	ok, err := s.descend(v, path, ask)
	if err != nil {
		return false, fmt.Errorf("selector %q: %w", selector, err)
	}
	return ok, nil
}

func (s *scope) descend(v reflect.Value, path []string, ask func(reflect.Value) (bool, error)) (bool, error) {
	if len(path) == 0 {
		return ask(v)
	}
	switch v.Kind() {
	case reflect.Struct:
		field := s.part(v, path[0])
		if !field.IsValid() {
			return false, fmt.Errorf("there is no %s", path[0])
		}
		return s.descend(field, path[1:], ask)
	case reflect.Map:
		value := v.MapIndex(reflect.ValueOf(path[0]))
		switch {
		case value.IsValid():
			return s.descend(value, path[1:], ask)
		case s.strict:
			return s.descend(example(v.Type().Elem()), path[1:], ask)
		}
		return ask(reflect.Value{})
	case reflect.Slice:
		for _, element := range v.Seq2() {
			if ok, err := s.descend(element, path, ask); err != nil || ok {
				return ok, err
			}
		}
		return false, nil
	}
	return false, fmt.Errorf("there is no %s in a %s", path[0], v.Kind())
}

// example is a value with one element in each of its lists and maps, so that all
// that it may hold can be looked at.
func example(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			v.Field(i).Set(example(t.Field(i).Type))
		}
	case reflect.Slice:
		v.Set(reflect.Append(v, example(t.Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(example(t.Key()), example(t.Elem()))
	}
	return v
}
