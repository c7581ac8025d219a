package tui

import (
	"time"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

// What the feed tells the model.
type (
	snapshotMsg struct{ now runtime.Snapshot } // the newest state
	usageMsg    struct{ now runtime.Snapshot } // the same with CPU and memory
	statusMsg   struct{ status control.Status }
	clockMsg    struct{ now time.Time }
	// endedMsg is that the daemon does not answer any more, after a last state.
	endedMsg struct {
		err  error
		last runtime.Snapshot
	}

	// linesMsg is the next lines of a source, or why there are none.
	linesMsg struct {
		from  source
		lines []logs.Line
		err   error
	}
	// doneMsg is how an order went.
	doneMsg struct {
		what string
		err  error
	}
	explainedMsg struct {
		service     string
		explanation control.Explanation
		err         error
	}
)

// order is what the model wants done.
type order interface{ order() }

type (
	// steer is a verb of control.Client.Steer.
	steer   struct{ verb, service string }
	explain struct{ service string }
	// follow makes another source the one that lines come from.
	follow   struct{ source source }
	shutdown struct{}
)

func (steer) order()    {}
func (explain) order()  {}
func (follow) order()   {}
func (shutdown) order() {}

// source is where the lines of the log pane come from: a service, or all. The
// number tells what was asked for before from what was asked for last.
type source struct {
	service string // "" is all
	number  int
}
