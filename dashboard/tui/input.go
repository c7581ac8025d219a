package tui

import (
	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// press routes a key: to what lies on top, else to the commands, else to the
// pane that has the focus.
func (m model) press(msg tea.KeyPressMsg) (tea.Model, tea.Cmd) {
	k := newKeys(m.status.owner)
	switch {
	case key.Matches(msg, k.interrupt):
		m.left = Interrupted
		return m, tea.Quit
	case m.overlay.open():
		return m.pressOverlay(msg, k)
	case m.logs.typing:
		m.logs = m.logs.typed(msg)
		return m, nil
	}
	if next, cmd, done := m.command(msg, k); done {
		return next, cmd
	}
	if m.focus == onLogs || m.zoomed {
		m.logs = m.logs.press(msg, k)
		return m, nil
	}
	return m.selectService(m.services.press(msg, k))
}

// command is the keys that mean the same everywhere.
func (m model) command(msg tea.KeyPressMsg, k keys) (tea.Model, tea.Cmd, bool) {
	switch {
	case key.Matches(msg, k.quit):
		next, cmd := m.quit()
		return next, cmd, true
	case key.Matches(msg, k.detach):
		m.left = Detached
		return m, tea.Quit, true
	case key.Matches(msg, k.help):
		m.overlay = overlay{kind: showHelp}
	case key.Matches(msg, k.pane):
		m.focus = (m.focus + 1) % 2
		m.zoomed = false
		return m.layout(), nil, true
	case key.Matches(msg, k.filter):
		m.focus = onLogs
		m.logs = m.logs.ask()
	case key.Matches(msg, k.clear):
		return m.clear(), nil, true
	case key.Matches(msg, k.mouse):
		m.selecting = !m.selecting
	case key.Matches(msg, k.zoom):
		next, cmd := m.zoom()
		return next, cmd, true
	case key.Matches(msg, k.all):
		next, cmd := m.toggleAll()
		return next, cmd, true
	default:
		return m.steer(msg, k)
	}
	return m, nil, true
}

// steer is the keys that do something to the selected service.
func (m model) steer(msg tea.KeyPressMsg, k keys) (tea.Model, tea.Cmd, bool) {
	verb := ""
	switch {
	case key.Matches(msg, k.restart):
		verb = "restart"
	case key.Matches(msg, k.rebuild):
		verb = "rebuild"
	case key.Matches(msg, k.start):
		verb = "start"
	case key.Matches(msg, k.stop):
		verb = m.services.toggle()
	case key.Matches(msg, k.why):
		verb = "why"
	default:
		return m, nil, false
	}
	name := m.services.selected
	switch {
	case name == "":
		return m, nil, true
	case verb == "why":
		m.overlay = overlay{kind: showWhy, service: name}
		return m, ask(explain{name}), true
	}
	m.status = m.status.say(verb+" "+name+" …", false)
	return m, ask(steer{verb, name}), true
}

// quit asks first when it would stop everything.
func (m model) quit() (tea.Model, tea.Cmd) {
	if m.status.owner && !m.status.leaving && m.ended == nil {
		m.overlay = overlay{kind: askStop}
		return m, nil
	}
	return m, tea.Quit
}

func (m model) clear() model {
	switch {
	case m.logs.filter.text != "":
		m.logs = m.logs.setFilter("")
	case m.zoomed:
		m.zoomed = false
	}
	return m.layout()
}

// zoom gives the log the screen; from the table it opens that of the selected
// service.
func (m model) zoom() (tea.Model, tea.Cmd) {
	open := m.focus == onServices && !m.zoomed && m.services.selected != ""
	m.zoomed = !m.zoomed
	if open && m.logs.from.service != m.services.selected {
		return m.show(m.services.selected)
	}
	return m.layout(), nil
}

func (m model) toggleAll() (tea.Model, tea.Cmd) {
	if m.logs.from.service != "" {
		return m.show("")
	}
	if m.services.selected == "" {
		return m, nil
	}
	return m.show(m.services.selected)
}

func (m model) pressOverlay(msg tea.KeyPressMsg, k keys) (tea.Model, tea.Cmd) {
	if m.overlay.kind != askStop {
		m.overlay = m.overlay.press(msg, k)
		return m, nil
	}
	switch msg.String() {
	case "y", "Y", "enter":
		m.overlay = overlay{}
		m.status = m.status.leave()
		return m, ask(shutdown{})
	case "d":
		m.left = Detached
		return m, tea.Quit
	case "n", "N", "esc", "q":
		m.overlay = overlay{}
	}
	return m, nil
}

func (m model) paste(msg tea.PasteMsg) model {
	if m.logs.typing {
		m.logs = m.logs.typed(msg)
	}
	return m
}

const wheelLines = 3

// wheel scrolls what is below the pointer.
func (m model) wheel(msg tea.MouseWheelMsg) tea.Model {
	by := wheelLines
	if msg.Button == tea.MouseWheelUp {
		by = -wheelLines
	}
	switch {
	case m.overlay.open():
		m.overlay = m.overlay.scroll(by)
	case msg.Y < 1+m.services.height:
		m.services = m.services.scroll(by)
	default:
		m.logs = m.logs.scroll(by)
	}
	return m
}

// click selects a service and moves the focus.
func (m model) click(msg tea.MouseClickMsg) (tea.Model, tea.Cmd) {
	if m.overlay.open() || msg.Button != tea.MouseLeft {
		return m, nil
	}
	if msg.Y >= 1+m.services.height {
		m.focus = onLogs
		return m, nil
	}
	m.focus = onServices
	return m.selectService(m.services.at(msg.Y - 1))
}
