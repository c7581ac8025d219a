// Package lazyregexp compiles regular expressions when they are first used, as Go's own
// internal/lazyregexp does: each call of mesh would pay for those of all its commands.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns what compiles the expression once; an expression that is wrong panics
// then, so that each has to have a test that uses it.
func New(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
