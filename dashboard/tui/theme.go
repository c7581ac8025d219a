package tui

import (
	"hash/fnv"
	"image/color"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/ebef7166/mesh/runtime"
)

// theme is the styles for one kind of background. Colour only repeats what a
// glyph or a word says: without it nothing is lost.
type theme struct {
	text, dim, bold, accent, good, busy, bad lipgloss.Style
	border, focused, match                   lipgloss.Style
	marked                                   color.Color // behind the selected row
	names                                    []lipgloss.Style
}

func newTheme(dark bool) theme {
	pick := lipgloss.LightDark(dark)
	ink := func(light, dark string) lipgloss.Style {
		return lipgloss.NewStyle().Foreground(pick(lipgloss.Color(light), lipgloss.Color(dark)))
	}
	t := theme{
		text: lipgloss.NewStyle(), bold: lipgloss.NewStyle().Bold(true),
		dim: ink("#6b7280", "#8b93a1"), accent: ink("#0a6c8f", "#67c8e8").Bold(true),
		good: ink("#15803d", "#6fd08c"), busy: ink("#a16207", "#e9c46a"), bad: ink("#c02626", "#ff7b72").Bold(true),
		border: ink("#c3c9d2", "#454c59"), focused: ink("#0a6c8f", "#67c8e8"),
		match:  lipgloss.NewStyle().Reverse(true),
		marked: pick(lipgloss.Color("254"), lipgloss.Color("237")),
	}
	for _, c := range [][2]string{
		{"#0e7490", "#56c2d6"}, {"#7c3aed", "#b79cf5"}, {"#a16207", "#e0b95b"}, {"#be185d", "#ef8fb4"},
		{"#15803d", "#85cf8b"}, {"#1d4ed8", "#87aef5"}, {"#c2410c", "#f0a070"}, {"#4d7c0f", "#b5cc6a"},
	} {
		t.names = append(t.names, ink(c[0], c[1]))
	}
	return t
}

// name gives every service a colour that stays from run to run.
func (t theme) name(service string) lipgloss.Style {
	h := fnv.New32a()
	h.Write([]byte(service))
	return t.names[h.Sum32()%uint32(len(t.names))]
}

// stopped is the word for a service that a person stopped.
const stopped runtime.State = "stopped"

// state is the glyph and the style of a state; the word is the state itself.
func (t theme) state(s runtime.State) (string, lipgloss.Style) {
	switch s {
	case runtime.Healthy:
		return "●", t.good
	case runtime.Pending:
		return "○", t.dim
	case runtime.Building:
		return "◔", t.busy
	case runtime.Starting:
		return "◑", t.busy
	case runtime.Unhealthy:
		return "▲", t.bad
	case runtime.Backoff:
		return "↻", t.bad
	case runtime.Failed:
		return "✗", t.bad
	case runtime.Stopping:
		return "◌", t.busy
	}
	return "■", t.dim
}

// panel draws a box of w by h around lines, with words in its upper edge.
func (t theme) panel(title, right string, lines []string, w, h int, focused bool) string {
	edge := t.border
	if focused {
		edge = t.focused
	}
	inner := max(w-2, 0)
	left := " " + ansi.Truncate(title, max(inner-4, 0), "…") + " "
	if right != "" {
		right = " " + right + " "
	}
	if lipgloss.Width(left)+lipgloss.Width(right)+3 > inner {
		right = ""
	}
	fill := max(inner-2-lipgloss.Width(left)-lipgloss.Width(right), 0)
	rows := make([]string, 0, h)
	rows = append(rows, edge.Render("╭─")+left+edge.Render(strings.Repeat("─", fill))+right+edge.Render("─╮"))
	for i := range max(h-2, 0) {
		line := ""
		if i < len(lines) {
			line = lines[i]
		}
		rows = append(rows, edge.Render("│")+fit(line, inner)+edge.Render("│"))
	}
	rows = append(rows, edge.Render("╰"+strings.Repeat("─", inner)+"╯"))
	return strings.Join(rows, "\n")
}

// fit cuts or pads to a width; text may have styles.
func fit(text string, width int) string {
	text = ansi.Truncate(text, max(width, 0), "…")
	return text + strings.Repeat(" ", max(width-lipgloss.Width(text), 0))
}

// fitRight pads on the left.
func fitRight(text string, width int) string {
	text = ansi.Truncate(text, max(width, 0), "…")
	return strings.Repeat(" ", max(width-lipgloss.Width(text), 0)) + text
}

// ends puts one text at each end of a line; the right one gives way.
func ends(left, right string, width int) string {
	if gap := width - lipgloss.Width(left) - lipgloss.Width(right); gap > 0 {
		return left + strings.Repeat(" ", gap) + right
	}
	return fit(left, width)
}
