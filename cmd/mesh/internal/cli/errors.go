package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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

// errSilent ends with exit code 1 where the command has already said why.
var errSilent = &failure{err: errors.New("failed"), code: exitFailed}

// report prints err to w as people read it and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	var f *failure
	switch {
	case err == error(errSilent):
		return exitFailed
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case !errors.As(err, &f):
		f = &failure{err: err, code: exitFailed}
	}
	fmt.Fprintf(w, "mesh: %s\n", strings.TrimSpace(err.Error()))
	if f.next != "" {
		fmt.Fprintf(w, "  next: %s\n", f.next)
	}
	return f.code
}
