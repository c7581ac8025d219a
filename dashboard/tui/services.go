package tui

import (
	"slices"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"github.com/ebef7166/mesh/runtime"
)

// servicesPane is the table of services and, where there are several, of their
// instances.
type servicesPane struct {
	known         bool // a state has come
	now           runtime.Snapshot
	usage         map[string]usage // by instance; never changed, only replaced
	clock         time.Time
	selected      string
	first         int // row shown at the top
	width, height int // with the border; a height of 0 is hidden
}

type usage struct {
	cpu    float64
	memory int64
}

func (p servicesPane) update(msg tea.Msg) servicesPane {
	switch msg := msg.(type) {
	case snapshotMsg:
		p.known, p.now = true, msg.now
		if _, ok := p.now.Service(p.selected); !ok {
			p.selected = ""
			if len(p.now.Services) > 0 {
				p.selected = p.now.Services[0].Name
			}
		}
		return p.reveal()
	case usageMsg:
		p.usage = make(map[string]usage, len(msg.now.Instances))
		for _, i := range msg.now.Instances {
			p.usage[i.Instance] = usage{i.CPUPercent, i.MemoryBytes}
		}
	case clockMsg:
		p.clock = msg.now
	}
	return p
}

// wants is the height that shows everything.
func (p servicesPane) wants() int { return max(len(p.rows()), 1) + 3 }

func (p servicesPane) resize(width, height int) servicesPane {
	p.width, p.height = width, height
	return p.reveal()
}

// visible is how many rows there is room for.
func (p servicesPane) visible() int { return max(p.height-3, 1) }

func (p servicesPane) press(msg tea.KeyPressMsg, k keys) servicesPane {
	switch {
	case key.Matches(msg, k.up):
		return p.move(-1)
	case key.Matches(msg, k.down):
		return p.move(1)
	case key.Matches(msg, k.pageUp):
		return p.move(-p.visible())
	case key.Matches(msg, k.pageDown):
		return p.move(p.visible())
	case key.Matches(msg, k.top):
		return p.move(-len(p.now.Services))
	case key.Matches(msg, k.bottom):
		return p.move(len(p.now.Services))
	}
	return p
}

// move selects another service.
func (p servicesPane) move(by int) servicesPane {
	if len(p.now.Services) == 0 {
		return p
	}
	at := slices.IndexFunc(p.now.Services, func(s runtime.Service) bool { return s.Name == p.selected })
	p.selected = p.now.Services[min(max(at+by, 0), len(p.now.Services)-1)].Name
	return p.reveal()
}

// scroll moves what is seen, not the selection.
func (p servicesPane) scroll(by int) servicesPane {
	p.first = min(max(p.first+by, 0), max(len(p.rows())-p.visible(), 0))
	return p
}

// reveal scrolls so that the selected service is seen.
func (p servicesPane) reveal() servicesPane {
	rows := p.rows()
	if at := slices.IndexFunc(rows, func(r row) bool { return r.service == p.selected }); at >= 0 {
		p.first = min(p.first, at)
		p.first = max(p.first, at-p.visible()+1)
	}
	return p.scroll(0)
}

// at selects the service in a line of the pane.
func (p servicesPane) at(line int) servicesPane {
	rows := p.rows()
	if i := p.first + line - 2; line >= 2 && i < len(rows) && line < p.height-1 {
		p.selected = rows[i].service
	}
	return p
}

// toggle is the verb that undoes the state of the selected service.
func (p servicesPane) toggle() string {
	s, _ := p.now.Service(p.selected)
	instances := p.now.Of(p.selected)
	done := len(instances) > 0 && !slices.ContainsFunc(instances, func(i runtime.Instance) bool { return !i.State.Final() })
	if done || atRest(s, instances) {
		return "start"
	}
	return "stop"
}

// trouble is what is wrong with the selected service, else with the first that
// something is wrong with, "" when nothing is.
func (p servicesPane) trouble() string {
	first := ""
	for _, r := range p.rows() {
		switch {
		case !r.troubled || r.info == "":
		case r.service == p.selected:
			return r.service + ": " + r.info + " (w says more)"
		case first == "":
			first = r.service + ": " + r.info
		}
	}
	return first
}
