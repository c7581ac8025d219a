// Package tui is the terminal dashboard.
package tui

import (
	"context"
	"io"

	"github.com/ebef7166/mesh/control"
)

// Options says how the dashboard is opened.
type Options struct {
	In    io.Reader
	Out   io.Writer
	Owner bool // leaving stops the workspace; d detaches
}

// Left is how a person left the dashboard.
type Left int

// The ways to leave.
const (
	Quit Left = iota
	Detached
)

// Run shows the dashboard until it is left, ctx ends, or the daemon does.
func Run(ctx context.Context, client *control.Client, o Options) (Left, error) {
	<-ctx.Done()
	return Quit, nil
}
