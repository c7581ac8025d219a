package devregistry

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/hashicorp/go-bexpr/grammar"
)

// Bounds of a filter expression. The parser takes four times as long for each
// parenthesis inside another, so its steps are counted: maxSteps are about 30 ms,
// five parentheses deep.
const (
	maxFilter = 4 << 10 // bytes
	maxSteps  = 1 << 19
)

// filter is a filter expression
// (https://developer.hashicorp.com/consul/api-docs/features/filtering), or nil.
// The names that it knows are those of the answer's JSON.
type filter struct{ of condition }

func newFilter(expression string) (*filter, error) {
	if expression == "" {
		return nil, nil
	}
	if len(expression) > maxFilter {
		return nil, fail(http.StatusBadRequest, "Failed to create filter: the expression is longer than %d bytes", maxFilter)
	}
	of, err := parseFilter(expression)
	switch {
	case err != nil && strings.Contains(err.Error(), "max number of expressions parsed"):
		return nil, fail(http.StatusBadRequest, "Failed to create filter: the expression is nested too deeply")
	case err != nil:
		return nil, fail(http.StatusBadRequest, "Failed to create filter: %v", err)
	}
	return &filter{of}, nil
}

func parseFilter(expression string) (condition, error) {
	tree, err := grammar.Parse("", []byte(expression), grammar.MaxExpressions(maxSteps))
	if err != nil {
		return nil, err
	}
	return compile(tree.(grammar.Expression))
}

// siftable is an answer that a filter can be laid over.
type siftable interface {
	sift(f *filter) (any, error)
}

// sift lays the filter over an answer. One that has no parts to choose from
// refuses it rather than pass over it.
func (f *filter) sift(answer any) (any, error) {
	if f == nil {
		return final(answer), nil
	}
	s, ok := answer.(siftable)
	if !ok {
		return nil, fail(http.StatusBadRequest, "Failed to create filter: this endpoint takes none")
	}
	return s.sift(f)
}

// shaped is an answer that is gathered in one shape, so that it can be filtered,
// and told in another.
type shaped interface{ shape() any }

func final(answer any) any {
	if s, ok := answer.(shaped); ok {
		return s.shape()
	}
	return answer
}

func (f *filter) matches(item any) (bool, error) {
	return f.holds(&scope{item: reflect.ValueOf(item)})
}

func (f *filter) holds(s *scope) (bool, error) {
	ok, err := f.of.holds(s)
	if err != nil {
		return false, fail(http.StatusBadRequest, "Failed to filter: %v", err)
	}
	return ok, nil
}

// rows is a list that can be filtered.
type rows[T any] []T

func (rs rows[T]) sift(f *filter) (any, error) {
	kept := rows[T]{}
	if err := tried[T](f); err != nil {
		return nil, err
	}
	for _, item := range rs {
		ok, err := f.matches(item)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

// table is a map that can be filtered by its values.
type table[T any] map[string]T

func (t table[T]) sift(f *filter) (any, error) {
	kept := table[T]{}
	if err := tried[T](f); err != nil {
		return nil, err
	}
	for key, item := range t {
		ok, err := f.matches(item)
		if err != nil {
			return nil, err
		}
		if ok {
			kept[key] = item
		}
	}
	return kept, nil
}

// tried evaluates a filter over an example, so that an expression that names what
// is not there is refused whatever is registered.
func tried[T any](f *filter) error {
	_, err := f.holds(&scope{item: example(reflect.TypeFor[T]()), strict: true})
	return err
}
