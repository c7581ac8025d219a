package tui

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
)

// keep is how many lines of a log can be scrolled back to; the files and mesh
// logs have more. At the bound the oldest tenth goes.
const keep = 20000

// logPane shows the log of one service or of all.
type logPane struct {
	from    source
	lines   []entry // all that came
	shown   []entry // those that the filter lets through
	missed  int     // lines dropped because this view was too slow for them
	top     int     // first line seen, of shown
	follows bool    // the newest line stays in sight
	across  int     // columns that long lines are moved to the left

	filter filter
	input  textinput.Model
	typing bool

	width, height int // with the border
}

func newLogPane() logPane {
	input := textinput.New()
	input.Prompt = ""
	input.SetVirtualCursor(true)
	styles := input.Styles()
	styles.Cursor.Blink = false // nothing moves by itself, and no timer stays behind
	input.SetStyles(styles)
	return logPane{follows: true, input: input}
}

// open is the pane for another source, empty until its lines come.
func (p logPane) open(service string) logPane {
	p.from = source{service, p.from.number + 1}
	p.lines, p.shown, p.missed, p.top, p.across, p.follows = nil, nil, 0, 0, 0, true
	return p
}

func (p logPane) update(msg tea.Msg) logPane {
	batch, ok := msg.(linesMsg)
	if !ok || batch.from != p.from {
		return p
	}
	for _, l := range batch.lines {
		e := newEntry(l)
		p.missed += e.missed
		p.lines = append(p.lines, e)
		if p.filter.lets(e) {
			p.shown = append(p.shown, e)
		}
	}
	p.lines, _ = bound(p.lines)
	var gone int
	p.shown, gone = bound(p.shown)
	p.top -= gone
	return p.scroll(0)
}

// bound drops the oldest lines, and says how many.
func bound(lines []entry) ([]entry, int) {
	if len(lines) <= keep {
		return lines, 0
	}
	gone := len(lines) - keep*9/10
	return slices.Clone(lines[gone:]), gone
}

func (p logPane) resize(width, height int) logPane {
	p.width, p.height = width, height
	return p.scroll(0)
}

// visible is how many lines there is room for.
func (p logPane) visible() int { return max(p.height-2, 1) }

// scroll moves the view; at the end it follows.
func (p logPane) scroll(by int) logPane {
	last := max(len(p.shown)-p.visible(), 0)
	if last == 0 || p.follows && by >= 0 {
		p.top, p.follows = last, p.follows || last == 0
		return p
	}
	p.top = min(max(p.top+by, 0), last)
	p.follows = by > 0 && p.top == last
	return p
}

const sideways = 20 // columns that a key moves by

func (p logPane) press(msg tea.KeyPressMsg, k keys) logPane {
	switch {
	case key.Matches(msg, k.up):
		return p.scroll(-1)
	case key.Matches(msg, k.down):
		return p.scroll(1)
	case key.Matches(msg, k.pageUp):
		return p.scroll(-p.visible())
	case key.Matches(msg, k.pageDown):
		return p.scroll(p.visible())
	case key.Matches(msg, k.top):
		return p.scroll(-len(p.shown) - 1)
	case key.Matches(msg, k.bottom):
		p.follows = true
		return p.scroll(0)
	case key.Matches(msg, k.left):
		p.across = max(p.across-sideways, 0)
	case key.Matches(msg, k.right):
		p.across += sideways
	}
	return p
}

// ask opens the line in which the filter is typed.
func (p logPane) ask() logPane {
	p.typing = true
	p.input.SetValue(p.filter.text)
	p.input.CursorEnd()
	p.input.Focus()
	return p
}

// typed filters while it is typed.
func (p logPane) typed(msg tea.Msg) logPane {
	if pressed, ok := msg.(tea.KeyPressMsg); ok {
		switch pressed.String() {
		case "enter":
			p.typing = false
			return p
		case "esc":
			p.typing = false
			return p.setFilter("")
		}
	}
	p.input, _ = p.input.Update(msg)
	return p.setFilter(p.input.Value())
}

func (p logPane) setFilter(text string) logPane {
	p.filter = newFilter(text)
	p.shown = nil
	for _, e := range p.lines {
		if p.filter.lets(e) {
			p.shown = append(p.shown, e)
		}
	}
	p.follows = true
	return p.scroll(0)
}

// filter is the text or regular expression that lines must have.
type filter struct {
	text string
	re   *regexp.Regexp
}

// newFilter takes what is no regular expression as plain text. Capital letters
// matter only when there are some.
func newFilter(text string) filter {
	if text == "" {
		return filter{}
	}
	flags := ""
	if !strings.ContainsFunc(text, unicode.IsUpper) {
		flags = "(?i)"
	}
	re, err := regexp.Compile(flags + text)
	if err != nil {
		re = regexp.MustCompile(flags + regexp.QuoteMeta(text))
	}
	return filter{text, re}
}

func (f filter) lets(e entry) bool {
	return f.re == nil || f.re.MatchString(e.words.text) || f.re.MatchString(e.words.level) || f.re.MatchString(e.instance)
}
