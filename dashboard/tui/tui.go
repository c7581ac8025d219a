// Package tui is the terminal dashboard.
//
// A model (model.go) that does no I/O holds a child for each part of the screen;
// its Update only routes. What comes in is a message from the feed (feed.go),
// which owns every goroutine that reads from the daemon; what the model wants
// done is an order, a message that leaves it through a command and that Run hands
// to the feed. So everything that is seen is a function of the messages so far.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"

	tea "charm.land/bubbletea/v2"

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
	Interrupted
)

// Run shows the dashboard until it is left, ctx ends, or the daemon does. Ctrl-C,
// a key here, ends it as the signal does elsewhere: with context.Canceled.
func Run(ctx context.Context, client *control.Client, o Options) (Left, error) {
	feeding, stop := context.WithCancel(ctx)
	f := newFeed(client)
	program := tea.NewProgram(newModel(o.Owner),
		tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithoutSignalHandler(),
		tea.WithFilter(func(_ tea.Model, msg tea.Msg) tea.Msg {
			if order, ok := msg.(order); ok {
				return f.take(feeding, order)
			}
			return msg
		}))
	f.start(feeding, program.Send)
	final, err := program.Run()
	stop()
	f.wait()
	if ctx.Err() != nil {
		return Quit, ctx.Err()
	}
	if err != nil {
		return Quit, fmt.Errorf("terminal dashboard: %w", err)
	}
	m := final.(model)
	if m.left == Interrupted {
		return Interrupted, context.Canceled
	}
	return m.left, farewell(o.Out, m)
}

// farewell says on the ordinary screen why the dashboard closed by itself.
func farewell(out io.Writer, m model) error {
	switch {
	case m.ended == nil || m.status.leaving:
		return nil
	case errors.Is(m.ended, control.ErrEnded) && m.status.atEnd():
		fmt.Fprintf(out, "mesh: %s was stopped from elsewhere.\n", m.status.name())
		return nil
	}
	return m.ended
}
