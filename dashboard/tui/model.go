package tui

import (
	tea "charm.land/bubbletea/v2"
)

// pane is where the keys go.
type pane int

const (
	onServices pane = iota
	onLogs
)

// model is the whole screen.
type model struct {
	width, height int
	theme         theme
	focus         pane
	zoomed        bool // the log has the screen to itself
	selecting     bool // the mouse is the terminal's, to select text

	status   statusBar
	services servicesPane
	logs     logPane
	overlay  overlay

	left  Left
	ended error
}

func newModel(owner bool) model {
	return model{
		width: 80, height: 24, theme: newTheme(true),
		status: statusBar{owner: owner}, services: servicesPane{}, logs: newLogPane(),
	}.layout()
}

// Init asks for the colour of the background and for the lines of all services.
func (m model) Init() tea.Cmd { return tea.Batch(tea.RequestBackgroundColor, ask(follow{m.logs.from})) }

// ask makes an order leave the model.
func ask(o order) tea.Cmd { return func() tea.Msg { return o } }

// Update routes.
func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		return m.layout(), nil
	case tea.BackgroundColorMsg:
		m.theme = newTheme(msg.IsDark())
		return m, nil
	case tea.KeyPressMsg:
		return m.press(msg)
	case tea.PasteMsg:
		return m.paste(msg), nil
	case tea.MouseWheelMsg:
		return m.wheel(msg), nil
	case tea.MouseClickMsg:
		return m.click(msg)
	case endedMsg:
		m.ended, m.status.now = msg.err, msg.last
		return m, tea.Quit
	}
	m.status = m.status.update(msg)
	m.services = m.services.update(msg)
	m.logs = m.logs.update(msg)
	m.overlay = m.overlay.update(msg)
	return m.layout(), nil
}

// layout shares the screen out: a line above, the services, the log, two lines
// below. The services get what they need, up to two fifths.
func (m model) layout() model {
	body := max(m.height-3, 0)
	wanted, width := m.services.wants(), m.width
	if m.wide() {
		wanted, width = max(wanted, m.status.wants()), m.width-addressesWidth
	}
	table := min(wanted, max(body*2/5, 5))
	if m.zoomed {
		table = 0
	}
	m.services = m.services.resize(width, table)
	m.logs = m.logs.resize(m.width, max(body-table, 0))
	return m
}

// wide reports whether there is room for the addresses beside the services.
func (m model) wide() bool { return m.width >= 130 }

// selectService follows the selection with the log, when it shows one service.
func (m model) selectService(s servicesPane) (model, tea.Cmd) {
	m.services = s
	if m.logs.from.service == "" || m.logs.from.service == s.selected {
		return m.layout(), nil
	}
	return m.show(s.selected)
}

// show opens the log of a service, or of all.
func (m model) show(service string) (model, tea.Cmd) {
	m.logs = m.logs.open(service)
	return m.layout(), ask(follow{m.logs.from})
}

// View draws what there is; it opens before anything is known.
func (m model) View() tea.View {
	v := tea.NewView(m.draw())
	v.AltScreen = true
	if !m.selecting {
		v.MouseMode = tea.MouseModeCellMotion
	}
	v.WindowTitle = m.status.title()
	return v
}
