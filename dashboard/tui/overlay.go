package tui

import (
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/ebef7166/mesh/control"
)

// overlayKind is what lies on top of the screen.
type overlayKind int

const (
	nothing overlayKind = iota
	showHelp
	showWhy
	askStop
)

type overlay struct {
	kind    overlayKind
	service string // of showWhy
	asked   bool   // the answer has come
	answer  control.Explanation
	err     error
	offset  int
}

func (o overlay) open() bool { return o.kind != nothing }

func (o overlay) update(msg tea.Msg) overlay {
	if msg, ok := msg.(explainedMsg); ok && o.kind == showWhy && msg.service == o.service {
		o.asked, o.answer, o.err = true, msg.explanation, msg.err
	}
	return o
}

// press closes or scrolls.
func (o overlay) press(msg tea.KeyPressMsg, k keys) overlay {
	switch {
	case key.Matches(msg, k.up):
		return o.scroll(-1)
	case key.Matches(msg, k.down):
		return o.scroll(1)
	case key.Matches(msg, k.pageUp):
		return o.scroll(-10)
	case key.Matches(msg, k.pageDown):
		return o.scroll(10)
	}
	return overlay{}
}

// scroll is cut to what there is when it is drawn.
func (o overlay) scroll(by int) overlay {
	o.offset = max(o.offset+by, 0)
	return o
}

func (o overlay) view(t theme, width, height int, owner bool) string {
	title, lines := "", []string(nil)
	inner := min(width-6, 100)
	switch o.kind {
	case nothing:
		return ""
	case showHelp:
		title, lines = "Keys", helpLines(t, owner)
	case showWhy:
		title, lines = "Why "+o.service+"?", o.whyLines(t, inner-2)
	case askStop:
		title, lines = "Leave?", []string{
			"This stops all services of the workspace.", "",
			t.bold.Render("y") + "  stop everything", t.bold.Render("d") + "  detach: it all runs on, mesh dash comes back", t.bold.Render("n") + "  stay",
		}
	}
	longest := ansi.StringWidth(title) + 2
	for _, l := range lines {
		longest = max(longest, ansi.StringWidth(l))
	}
	inner = min(inner, longest+2)
	room := max(min(len(lines), height-3), 1)
	offset := min(o.offset, len(lines)-room)
	right := ""
	if room < len(lines) {
		right = t.dim.Render("j k scroll")
	}
	shown := make([]string, 0, room)
	for _, l := range lines[offset : offset+room] {
		shown = append(shown, " "+l)
	}
	return t.panel(t.accent.Render(title), right, shown, inner+2, room+2, true)
}

// whyLines is the chain of causes, the last words and the next step.
func (o overlay) whyLines(t theme, width int) []string {
	switch {
	case !o.asked:
		return []string{t.dim.Render("Asking …")}
	case o.err != nil:
		return wrap(t.bad.Render(clean(o.err.Error())), width)
	}
	headline := o.service + " is " + t.bold.Render(clean(o.answer.State))
	if len(o.answer.Serving) > 0 {
		headline += "; healthy: " + clean(strings.Join(o.answer.Serving, ", "))
	}
	lines := []string{headline, ""}
	for i, cause := range o.answer.Causes {
		lead := "because "
		if i == 0 {
			lead = ""
		}
		for text := range strings.Lines(strings.TrimSpace(cause)) {
			lines = append(lines, wrap(lead+clean(text), width)...)
			lead = "  "
		}
	}
	if o.answer.Next != "" {
		lines = append(lines, "")
		lines = append(lines, wrap(t.accent.Render("next: ")+clean(o.answer.Next), width)...)
	}
	if len(o.answer.LastLog) > 0 {
		lines = append(lines, "", t.dim.Render("its last lines"))
		for _, l := range o.answer.LastLog {
			e := newEntry(l)
			lines = append(lines, ansi.Truncate("  "+t.dim.Render(e.at+" "+e.instance)+" "+e.words.text, width, "…"))
		}
	}
	return lines
}

func wrap(text string, width int) []string {
	return strings.Split(ansi.Wrap(text, max(width, 10), ""), "\n")
}

// helpLines is all keys, by what they are for.
func helpLines(t theme, owner bool) []string {
	k := newKeys(owner)
	zoom, all, stop, pane := hint("enter", "zoom the log, and back"), hint("a", "the log of all, or of the selected service"),
		hint("s", "stop it, or start it again"), hint("tab", "to the other pane")
	why := hint("w", "why it is in the state it is in")
	groups := []struct {
		title string
		keys  []key.Binding
	}{
		{"Move", []key.Binding{hint("j k ↑ ↓", "down, up; also the wheel"), hint("PgUp PgDn", "by a page"), hint("g G", "to the first; to the last, and follow"), hint("h l ← →", "the rest of a long line"), pane}},
		{"Log", []key.Binding{zoom, all, hint("/", "only lines with this text or regexp"), k.clear, k.mouse}},
		{"Selected service", []key.Binding{k.restart, stop, k.rebuild, why}},
		{"Leave", []key.Binding{k.quit, k.interrupt}},
	}
	if owner {
		groups[3].keys = append(groups[3].keys, hint("d", "detach: all runs on, mesh dash comes back"))
	}
	var lines []string
	for _, g := range groups {
		lines = append(lines, t.dim.Render(g.title))
		for _, b := range g.keys {
			lines = append(lines, "  "+t.bold.Render(fit(b.Help().Key, 10))+b.Help().Desc)
		}
	}
	return lines
}
