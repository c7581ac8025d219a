package tui

import (
	"bytes"
	"encoding/json"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/ebef7166/mesh/runtime/logs"
)

// entry is a line of a log as it is shown.
type entry struct {
	at       string
	service  string
	instance string
	build    bool
	missed   int
	words    words
}

// words is the text of a line, with its level where it has one.
type words struct {
	level string // "", or the level of a structured line, in capitals
	text  string
}

func newEntry(l logs.Line) entry {
	return entry{
		at: l.Time.Local().Format("15:04:05"), service: l.Service, instance: l.Instance,
		build: l.Stream == "build", missed: l.Missed, words: readable(l.Line),
	}
}

// readable makes a line safe, and one that is a JSON object as people read it:
// the message, then the rest as key=value in the order in which it was written.
func readable(line string) words {
	if strings.HasPrefix(line, "{") {
		if w, ok := structured(line); ok {
			return w
		}
	}
	return words{text: clean(line)}
}

func structured(line string) (words, bool) {
	dec := json.NewDecoder(strings.NewReader(line))
	if _, err := dec.Token(); err != nil {
		return words{}, false
	}
	var w words
	var message string
	var rest []string
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return words{}, false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return words{}, false
		}
		switch name {
		case "time", "ts", "timestamp", "@timestamp":
		case "level", "severity", "lvl":
			w.level = strings.ToUpper(clean(plain(value)))
		case "msg", "message":
			message = plain(value)
		default:
			rest = append(rest, name.(string)+"="+quoted(value))
		}
	}
	if _, err := dec.Token(); err != nil || dec.More() {
		return words{}, false
	}
	w.text = clean(strings.TrimSpace(message + " " + strings.Join(rest, " ")))
	return w, true
}

// plain is a string without its quotes, and anything else as it is.
func plain(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// quoted keeps the quotes where they are needed to see where a value ends.
func quoted(value json.RawMessage) string {
	text := plain(value)
	if bytes.HasPrefix(value, []byte(`"`)) && (text == "" || strings.ContainsAny(text, " =\"\n\t")) {
		return string(value)
	}
	return text
}

// level draws the level with a width of its own, so that messages line up.
func (t theme) level(w words) string {
	if w.level == "" {
		return ""
	}
	style := t.dim
	switch {
	case strings.HasPrefix(w.level, "ERR"), strings.HasPrefix(w.level, "FATAL"), strings.HasPrefix(w.level, "PANIC"):
		style = t.bad
	case strings.HasPrefix(w.level, "WARN"):
		style = t.busy
	case strings.HasPrefix(w.level, "INFO"):
		style = t.good
	}
	return style.Render(fit(w.level, 5)) + " "
}

// highlight marks what the filter found.
func (t theme) highlight(text string, f filter, style lipgloss.Style) string {
	if f.re == nil {
		return style.Render(text)
	}
	var b strings.Builder
	at := 0
	for _, span := range f.re.FindAllStringIndex(text, -1) {
		if span[0] == span[1] {
			continue
		}
		b.WriteString(style.Render(text[at:span[0]]) + t.match.Render(text[span[0]:span[1]]))
		at = span[1]
	}
	return b.String() + style.Render(text[at:])
}
