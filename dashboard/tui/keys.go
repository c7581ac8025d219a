package tui

import (
	"charm.land/bubbles/v2/key"
)

// keys are what can be pressed, for the routing and for the help alike.
type keys struct {
	up, down, pageUp, pageDown, top, bottom, left, right   key.Binding
	pane, zoom, all, filter, clear, mouse                  key.Binding
	restart, stop, start, rebuild, why, help, detach, quit key.Binding
	interrupt                                              key.Binding
}

func newKeys(owner bool) keys {
	bind := func(shown, what string, names ...string) key.Binding {
		return key.NewBinding(key.WithKeys(names...), key.WithHelp(shown, what))
	}
	k := keys{
		up: bind("k ↑", "up", "k", "up"), down: bind("j ↓", "down", "j", "down"),
		pageUp: bind("PgUp", "a page up", "pgup", "ctrl+b", "ctrl+u"), pageDown: bind("PgDn", "a page down", "pgdown", "ctrl+f", "ctrl+d", "space"),
		top: bind("g", "to the first", "g", "home"), bottom: bind("G", "to the last, and follow", "G", "end"),
		left: bind("h ←", "what a long line begins with", "h", "left"), right: bind("l →", "the rest of a long line", "l", "right"),
		pane: bind("tab", "pane", "tab", "shift+tab"), zoom: bind("enter", "zoom", "enter"),
		all: bind("a", "all/one", "a"), filter: bind("/", "filter", "/"), clear: bind("esc", "clear, close, unzoom", "esc"),
		mouse:   bind("m", "give the mouse to the terminal, to select text, and back", "m"),
		restart: bind("r", "restart", "r"), stop: bind("s", "stop/start", "s"), start: bind("S", "start", "S"), rebuild: bind("b", "rebuild", "b"),
		why: bind("w", "why", "w"), help: bind("?", "help", "?"), detach: bind("d", "detach", "d"),
		quit: bind("q", "leave; all runs on", "q"), interrupt: bind("Ctrl-C", "leave; all runs on", "ctrl+c"),
	}
	if owner {
		k.quit = bind("q", "stop all", "q")
		k.interrupt = bind("Ctrl-C", "stop all, without asking", "ctrl+c")
	}
	k.detach.SetEnabled(owner)
	return k
}

// hinted are the keys of the last line, the important ones first.
func (m model) hinted() []key.Binding {
	k := newKeys(m.status.owner)
	quit := key.NewBinding(key.WithKeys("q"), key.WithHelp("q", "quit"))
	switch {
	case m.logs.typing:
		return []key.Binding{hint("enter", "keep"), hint("esc", "clear"), hint("text or regexp", "")}
	case m.logs.filter.text != "" && (m.zoomed || m.focus == onLogs):
		return []key.Binding{hint("?", "help"), quit, hint("esc", "clear the filter"), hint("/", "change it"), hint("G", "follow"), hint("h l", "sideways"), k.all}
	case m.zoomed:
		return []key.Binding{hint("?", "help"), quit, hint("enter", "unzoom"), k.filter, k.clear, hint("G", "follow"), hint("h l", "sideways"), k.all}
	case m.focus == onLogs:
		return []key.Binding{hint("?", "help"), quit, k.pane, k.zoom, k.filter, k.all, hint("G", "follow"), hint("h l", "sideways"), k.detach}
	}
	hints := []key.Binding{hint("?", "help"), quit, k.restart, k.stop, k.rebuild, k.why, k.filter, k.pane, k.zoom}
	if m.status.owner {
		hints = append(hints, k.detach)
	}
	return append(hints, k.all)
}

func hint(shown, what string) key.Binding { return key.NewBinding(key.WithHelp(shown, what)) }
