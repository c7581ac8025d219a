package tui

import (
	"strings"

	"charm.land/lipgloss/v2"
)

const minWidth, minHeight = 40, 10

func (m model) draw() string {
	if m.width < minWidth || m.height < minHeight {
		return fit("mesh: this terminal is too small", m.width)
	}
	parts := []string{m.status.header(m.theme, m.width)}
	if !m.zoomed {
		table := m.services.view(m.theme, m.focus == onServices)
		if m.wide() {
			table = lipgloss.JoinHorizontal(lipgloss.Top, table, m.status.addresses(m.theme, m.services.height))
		}
		parts = append(parts, table)
	}
	parts = append(parts, m.logs.view(m.theme, m.focus == onLogs || m.zoomed))
	parts = append(parts, m.status.message(m.theme, m.width, m.services), m.hints())
	screen := strings.Join(parts, "\n")
	box := m.overlay.view(m.theme, m.width, m.height, m.status.owner)
	if box == "" {
		return screen
	}
	x, y := (m.width-lipgloss.Width(box))/2, (m.height-lipgloss.Height(box))/2
	return lipgloss.NewCompositor(lipgloss.NewLayer(screen), lipgloss.NewLayer(box).X(x).Y(y).Z(1)).Render()
}

// hints are the keys that matter now, as many as there is room for.
func (m model) hints() string {
	var line strings.Builder
	width := 0
	for _, b := range m.hinted() {
		text := m.theme.bold.Render(b.Help().Key) + " " + m.theme.dim.Render(b.Help().Desc)
		if width += lipgloss.Width(text) + 2; width > m.width {
			break
		}
		line.WriteString(" " + text + " ")
	}
	return fit(line.String(), m.width)
}
