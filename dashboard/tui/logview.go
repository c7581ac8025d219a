package tui

import (
	"fmt"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

func (p logPane) view(t theme, focused bool) string {
	return t.panel(p.title(t, focused), p.position(t), p.body(t), p.width, p.height, focused)
}

func (p logPane) title(t theme, focused bool) string {
	of := p.from.service
	if of == "" {
		of = "all services"
	}
	style := t.text
	if focused {
		style = t.accent
	}
	title := style.Render("Log of " + of)
	switch {
	case p.typing:
		title += t.bold.Render("  /") + p.input.View()
	case p.filter.text != "":
		title += t.dim.Render("  only ") + t.bold.Render("/"+clean(p.filter.text))
	}
	return title
}

// position says whether the newest line is in sight, and what was lost.
func (p logPane) position(t theme) string {
	var parts []string
	if p.missed > 0 {
		parts = append(parts, t.busy.Render(fmt.Sprintf("%d missed", p.missed)))
	}
	if p.across > 0 {
		parts = append(parts, t.dim.Render(fmt.Sprintf("→%d", p.across)))
	}
	if p.filter.text != "" {
		parts = append(parts, t.dim.Render(fmt.Sprintf("%d of %d lines", len(p.shown), len(p.lines))))
	}
	if p.follows {
		parts = append(parts, t.dim.Render("follows"))
	} else {
		parts = append(parts, t.busy.Render(fmt.Sprintf("%d below (G follows)", max(len(p.shown)-p.top-p.visible(), 0))))
	}
	return strings.Join(parts, t.dim.Render(" · "))
}

func (p logPane) body(t theme) []string {
	if len(p.shown) == 0 {
		text := "Nothing has been printed yet."
		if p.filter.text != "" {
			text = "No line has this."
		}
		return []string{t.dim.Render("  " + text)}
	}
	seen := p.shown[p.top:min(p.top+p.visible(), len(p.shown))]
	name := 0
	for _, e := range seen {
		name = max(name, lipgloss.Width(e.instance))
	}
	name = min(name, 20)
	lines := make([]string, 0, len(seen))
	for _, e := range seen {
		if e.missed > 0 {
			lines = append(lines, t.busy.Render(fmt.Sprintf(" … %d lines are not shown: they came faster than this view could take them; mesh logs has them", e.missed)))
		}
		lines = append(lines, p.line(t, e, name))
	}
	return lines[max(len(lines)-p.visible(), 0):] // the marks of gaps must not hide the newest
}

func (p logPane) line(t theme, e entry, name int) string {
	style := t.text
	lead := " " + t.dim.Render(e.at) + " " + t.name(e.service).Render(fit(e.instance, name)) + " "
	if e.build {
		lead += t.busy.Render("build ")
	}
	lead += t.level(e.words)
	room := max(p.width-2-lipgloss.Width(lead), 0)
	text := e.words.text
	if p.across > 0 {
		text = ansi.TruncateLeft(text, min(p.across, ansi.StringWidth(text)), "")
	}
	return lead + t.highlight(ansi.Truncate(text, room, "…"), p.filter, style)
}
