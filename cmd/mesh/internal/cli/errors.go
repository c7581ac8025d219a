package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ebef7166/mesh/internal/escape"
)

// Exit codes of the contract.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitInterrupted = 130
)

// failure is an error as a person sees it: what went wrong, what to do next,
// and the exit code. It is put together once, at the edge.
type failure struct {
	err  error
	next string // the next step, empty when the error says it already
	code int
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usageError reports wrong usage: exit code 2.
func usageError(format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), code: exitUsage}
}

// notFound reports that there is no such workspace, service or running mesh:
// exit code 3.
func notFound(err error, next string) error {
	return &failure{err: err, next: next, code: exitNotFound}
}

// withNext attaches the next step to an error that ends with exit code 1.
func withNext(err error, next string) error {
	return &failure{err: err, next: next, code: exitFailed}
}

// errSilent is wrapped where the command has already said why.
var errSilent = errors.New("already said")

// silent ends with this exit code and says nothing more.
func silent(code int) error { return &failure{err: errSilent, code: code} }

// asFailure is err with its exit code.
func asFailure(err error) *failure {
	var f *failure
	if !errors.As(err, &f) {
		return &failure{err: err, code: exitFailed}
	}
	return &failure{err: err, next: f.next, code: f.code}
}

// report prints err to w as people read it and returns the exit code.
func report(w io.Writer, err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return asFailure(err).code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	f := asFailure(err)
	fmt.Fprintf(w, "mesh: %s\n", printable(strings.TrimSpace(f.Error())))
	if f.next != "" {
		fmt.Fprintf(w, "  next: %s\n", f.next)
	}
	return f.code
}

// printable escapes what an error quotes from elsewhere, a manifest say, line by
// line.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = escape.Terminal(line)
	}
	return strings.Join(lines, "\n")
}
