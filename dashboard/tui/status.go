package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/runtime"
)

// statusBar is the first line and the line of messages.
type statusBar struct {
	owner   bool
	leaving bool // everything stops because it was asked for here

	known  bool
	status control.Status
	states bool // a state has come
	now    runtime.Snapshot
	clock  time.Time
	notice notice
}

// notice is what is said for a while.
type notice struct {
	text  string
	bad   bool
	until time.Time
}

// shownFor is how long a notice stays.
const shownFor = 6 * time.Second

func (b statusBar) update(msg tea.Msg) statusBar {
	switch msg := msg.(type) {
	case statusMsg:
		b.known, b.status = true, msg.status
	case snapshotMsg:
		b.states, b.now = true, msg.now
	case clockMsg:
		b.clock = msg.now
		if b.notice.text != "" && b.clock.After(b.notice.until) {
			b.notice = notice{}
		}
	case doneMsg:
		if msg.err != nil {
			return b.say(clean(msg.what+": "+msg.err.Error()), true)
		}
		return b.say(msg.what+": ordered", false)
	case linesMsg:
		if msg.err != nil {
			return b.say(clean("the log cannot be read: "+msg.err.Error()), true)
		}
	}
	return b
}

func (b statusBar) say(text string, bad bool) statusBar {
	b.notice = notice{text, bad, b.clock.Add(shownFor)}
	return b
}

func (b statusBar) leave() statusBar {
	b.leaving = true
	return b
}

// overall is the state of everything in a word.
type overall string

const (
	overallUnknown  overall = "connecting"
	overallStarting overall = "starting"
	overallHealthy  overall = "healthy"
	overallDegraded overall = "degraded"
	overallStopping overall = "stopping"
)

// stopsByItself is when nothing goes on and something still comes to its end.
func (b statusBar) stopsByItself() bool {
	return b.atEnd() && slices.ContainsFunc(b.now.Instances, func(i runtime.Instance) bool { return i.State == runtime.Stopping })
}

// atEnd is when nothing runs, save what is stopping.
func (b statusBar) atEnd() bool {
	return !slices.ContainsFunc(b.now.Instances, func(i runtime.Instance) bool { return !i.State.Final() && i.State != runtime.Stopping })
}

func (b statusBar) overall() overall {
	switch {
	case b.leaving || b.status.State == string(overallStopping) || b.stopsByItself():
		return overallStopping
	case !b.states:
		return overallUnknown
	}
	state := overallHealthy
	for _, s := range b.now.Services {
		if s.BuildError != "" {
			return overallDegraded
		}
	}
	for _, i := range b.now.Instances {
		switch i.State {
		case runtime.Failed, runtime.Unhealthy, runtime.Backoff:
			return overallDegraded
		case runtime.Pending, runtime.Building, runtime.Starting:
			state = overallStarting
		}
	}
	return state
}

func (b statusBar) name() string {
	if b.status.Name == "" {
		return "the workspace"
	}
	return clean(b.status.Name)
}

func (b statusBar) title() string {
	if !b.known {
		return "mesh"
	}
	return "mesh: " + clean(b.status.Name) + " " + string(b.overall())
}

// healthy is how many services are, of how many that should be.
func (b statusBar) healthy() (up, of int) {
	for _, s := range b.now.Services {
		instances := b.now.Of(s.Name)
		if atRest(s, instances) {
			continue
		}
		of++
		for _, i := range instances {
			if i.State == runtime.Healthy || i.Completed() {
				up++
				break
			}
		}
	}
	return up, of
}

func (b statusBar) header(t theme, width int) string {
	left := " " + t.accent.Render("mesh") + " "
	if b.known {
		left += " " + t.bold.Render(clean(b.status.Name)) + " "
	}
	glyph, style := "◌", t.busy
	switch b.overall() {
	case overallHealthy:
		glyph, style = "●", t.good
	case overallDegraded:
		glyph, style = "▲", t.bad
	case overallStarting:
		glyph = "◑"
	}
	left += " " + style.Render(glyph+" "+string(b.overall()))
	if up, of := b.healthy(); of > 0 {
		left += t.dim.Render(fmt.Sprintf("  %d of %d up", up, of))
	}
	right := ""
	if b.known && b.status.Gateway.URL != "" {
		right = t.dim.Render("gateway ") + clean(b.status.Gateway.URL) + " "
	}
	return ends(left, right, width)
}

// underWay is what a start waits for. A build prints nothing in the log while it
// goes well, so that it is told here.
func (b statusBar) underWay() string {
	if names, progress := runtime.UnderWay(b.now.Services); progress != "" {
		return clean(strings.Join(names, ", ") + ": " + progress)
	}
	var waits []string
	for _, i := range b.now.Instances {
		switch i.State {
		case runtime.Pending, runtime.Building, runtime.Starting:
			waits = append(waits, i.Instance+" is "+string(i.State))
		}
	}
	return clean(strings.Join(waits, ", "))
}

// message is the line above the keys: what was just done, else what is wrong with
// the selected service, else what one could do.
func (b statusBar) message(t theme, width int, services servicesPane) string {
	text, style := "", t.dim
	switch trouble := services.trouble(); {
	case b.leaving:
		text, style = "Stopping everything, in reverse order of dependency; Ctrl-C leaves now.", t.busy
	case b.overall() == overallStopping:
		text, style = "The workspace is being stopped.", t.busy
	case b.notice.text != "" && b.notice.bad:
		text, style = b.notice.text, t.bad
	case b.notice.text != "":
		text = b.notice.text
	case trouble != "":
		text, style = trouble, t.bad
	case b.overall() == overallHealthy && b.known:
		text = fmt.Sprintf("All healthy at %s  ·  mesh routes  ·  mesh token --user NAME", strings.TrimSuffix(clean(b.status.Gateway.URL), "/"))
	case b.overall() == overallStarting:
		text = b.underWay()
	}
	return style.Render(fit(ansi.Truncate(" "+text, width, "…"), width))
}
