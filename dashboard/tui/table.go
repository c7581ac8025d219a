package tui

import (
	"cmp"
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/ebef7166/mesh/runtime"
)

// column is one of the table; the last one takes what is left.
type column struct {
	title string
	width int
	right bool
	text  func(row) string
}

// columns are those that there is room for.
func (p servicesPane) columns(rows []row) []column {
	name := len("SERVICE")
	for _, r := range rows {
		name = max(name, lipgloss.Width(r.label))
	}
	wide := p.width >= 108
	columns := []column{
		{"SERVICE", min(name, p.width/4), false, func(r row) string { return r.label }},
		{"STATE", len("○ unhealthy"), false, nil},
	}
	if p.replicated(rows) {
		columns = append(columns, column{"UP", 5, false, func(r row) string { return r.count }})
	}
	columns = append(columns,
		column{"RST", 3, true, func(r row) string { return r.restarts }},
		column{"CPU", 6, true, func(r row) string { return r.cpu }},
		column{"MEM", 7, true, func(r row) string { return r.mem }})
	if wide {
		columns = append(columns, column{"AGE", 7, true, func(r row) string { return r.age }})
	}
	if !wide { // one column for both: where it is, or why it is not
		return append(columns, column{"ADDRESS", p.left(columns), false, func(r row) string { return cmp.Or(r.info, r.address) }})
	}
	columns = append(columns, column{"ADDRESS", len("127.0.0.1:65535"), false, func(r row) string { return r.address }})
	if p.width >= 130 {
		columns = append(columns, column{"VERSION", 12, false, func(r row) string { return r.version }})
	}
	return append(columns, column{"WHY", p.left(columns), false, func(r row) string { return r.info }})
}

// left is the width that columns leave to one more.
func (p servicesPane) left(columns []column) int {
	left := p.width - 5 // the border, the mark, and the gap behind it
	for _, c := range columns {
		left -= c.width + 1
	}
	return left
}

func (p servicesPane) replicated(rows []row) bool {
	for _, r := range rows {
		if r.count != "" {
			return true
		}
	}
	return false
}

func (p servicesPane) view(t theme, focused bool) string {
	rows := p.rows()
	title := t.text.Render("Services")
	if focused {
		title = t.accent.Render("Services")
	}
	if !p.known {
		return t.panel(title, "", []string{"", t.dim.Render("  Asking what runs …")}, p.width, p.height, focused)
	}
	if len(rows) == 0 {
		return t.panel(title, "", []string{"", t.dim.Render("  Nothing runs.")}, p.width, p.height, focused)
	}
	columns := p.columns(rows)
	lines := []string{tableHead(t, columns)}
	last := min(p.first+p.visible(), len(rows))
	for _, r := range rows[p.first:last] {
		lines = append(lines, p.line(t, columns, r, focused))
	}
	right := ""
	if p.first > 0 || last < len(rows) {
		right = t.dim.Render(fmt.Sprintf("%d-%d of %d", p.first+1, last, len(rows)))
	}
	return t.panel(title, right, lines, p.width, p.height, focused)
}

func tableHead(t theme, columns []column) string {
	var b strings.Builder
	b.WriteString("  ")
	for _, c := range columns {
		b.WriteString(t.dim.Render(pad(c, c.title)) + " ")
	}
	return b.String()
}

func pad(c column, text string) string {
	if c.right {
		return fitRight(text, c.width)
	}
	return fit(text, c.width)
}

// line draws one row; the selected one has a mark, and a background where the
// focus is.
func (p servicesPane) line(t theme, columns []column, r row, focused bool) string {
	selected := r.service == p.selected
	on := func(s lipgloss.Style) lipgloss.Style {
		if selected && focused {
			return s.Background(t.marked)
		}
		return s
	}
	mark := "  "
	if selected && !r.part {
		mark = "› "
	}
	var b strings.Builder
	b.WriteString(on(t.accent).Render(mark))
	for i, c := range columns {
		switch {
		case c.text == nil:
			glyph, style := t.state(r.state)
			b.WriteString(on(style).Render(pad(c, glyph+" "+string(r.state))))
		case i == 0 && !r.part:
			b.WriteString(on(t.bold).Render(pad(c, c.text(r))))
		case i == len(columns)-1 && r.troubled:
			b.WriteString(on(t.bad.Bold(false)).Render(pad(c, c.text(r))))
		case i == len(columns)-1 && r.info != "" && r.state == runtime.Healthy:
			b.WriteString(on(t.busy).Render(pad(c, c.text(r))))
		case i == 0 || i == len(columns)-1 && r.info != "":
			b.WriteString(on(t.dim).Render(pad(c, c.text(r))))
		default:
			b.WriteString(on(t.text).Render(pad(c, c.text(r))))
		}
		b.WriteString(on(t.text).Render(" "))
	}
	return b.String()
}
