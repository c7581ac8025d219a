package tui

import (
	"fmt"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/ebef7166/mesh/runtime/logs"
)

// filled is a pane with numbered lines and room for ten.
func filled(n int) logPane {
	p := newLogPane().resize(80, 12)
	return more(p, 0, n)
}

func more(p logPane, from, n int) logPane {
	var batch []logs.Line
	for i := range n {
		batch = append(batch, line("cart", fmt.Sprintf("line %d", from+i)))
	}
	return p.update(linesMsg{from: p.from, lines: batch})
}

func seen(p logPane) string { return p.shown[p.top].words.text }

func keysTo(p logPane, names ...string) logPane {
	for _, msg := range press(names...) {
		p = p.press(msg.(tea.KeyPressMsg), newKeys(false))
	}
	return p
}

func TestScroll(t *testing.T) {
	p := filled(100)
	for _, step := range []struct {
		keys    []string
		want    string
		follows bool
	}{
		{nil, "line 90", true},
		{[]string{"k"}, "line 89", false},
		{[]string{"pgup"}, "line 79", false},
		{[]string{"g"}, "line 0", false},
		{[]string{"k"}, "line 0", false},
		{[]string{"pgdown", "j"}, "line 11", false},
		{[]string{"G"}, "line 90", true},
	} {
		p = keysTo(p, step.keys...)
		if seen(p) != step.want || p.follows != step.follows {
			t.Errorf("after %v: %s, follows %v", step.keys, seen(p), p.follows)
		}
	}
	if p = more(p, 100, 5); seen(p) != "line 95" {
		t.Errorf("does not follow: %s", seen(p))
	}
	if p = more(keysTo(p, "k"), 105, 5); seen(p) != "line 94" {
		t.Errorf("what is read moves away: %s", seen(p))
	}
	if p = keysTo(p, "pgdown", "pgdown"); !p.follows {
		t.Error("scrolled to the end, it does not follow again")
	}
}

func TestBound(t *testing.T) {
	p := keysTo(filled(keep), "k")
	was := seen(p)
	p = more(p, keep, 10)
	if len(p.lines) > keep || seen(p) != was {
		t.Errorf("%d lines, at %s instead of %s", len(p.lines), seen(p), was)
	}
}

func TestStaleLines(t *testing.T) {
	p := filled(3)
	old := p.from
	p = p.open("cart").update(linesMsg{from: old, lines: []logs.Line{line("cart", "late")}})
	if len(p.lines) != 0 {
		t.Error("a line of the log shown before got into this one")
	}
}

func TestFilter(t *testing.T) {
	for text, want := range map[string]string{
		"": "ab|AB|a(c", "ab": "ab|AB", "AB": "AB", "a(": "a(c", "^a.$": "ab|AB", "zz": "", "cart-1": "ab|AB|a(c",
	} {
		p := newLogPane().resize(80, 12).setFilter(text)
		p = p.update(linesMsg{lines: []logs.Line{line("cart", "ab"), line("cart", "AB"), line("cart", "a(c")}})
		var got []string
		for _, e := range p.shown {
			got = append(got, e.words.text)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("/%s lets through %q, want %q", text, got, want)
		}
		if again := p.setFilter("x").setFilter(text); len(again.shown) != len(p.shown) {
			t.Errorf("/%s lets through %d lines when it is set later", text, len(again.shown))
		}
	}
}

func TestReadable(t *testing.T) {
	for in, want := range map[string]words{
		"plain":                {text: "plain"},
		"\x1b[31mred\x1b[0m\r": {text: "red"},
		"\x1b]0;title\x07":     {text: `\x1b]0;title\x07`},
		"a\tb":                 {text: "a    b"},
		`{"msg":"m","level":"warn","n":1,"s":"x y","e":"","o":{"a":[1]}}`: {"WARN", `m n=1 s="x y" e="" o={"a":[1]}`},
		`{"message":"\u001b[2J"}`: {text: `\x1b[2J`},
		`{"msg":"m"} and more`:    {text: `{"msg":"m"} and more`},
		`{"msg":`:                 {text: `{"msg":`},
		`{}`:                      {text: ""},
	} {
		if got := readable(in); got != want {
			t.Errorf("%q reads %q, want %q", in, got, want)
		}
	}
}

func TestLineQueueCounts(t *testing.T) {
	q := newLineQueue()
	const n = 3*queueLimit + 7
	for i := range n {
		q.add(line("cart", fmt.Sprint(i)))
	}
	lines := q.take()
	if len(lines) > queueLimit || lines[0].Missed+len(lines) != n || lines[len(lines)-1].Line != fmt.Sprint(n-1) {
		t.Errorf("%d lines and %d missed of %d", len(lines), lines[0].Missed, n)
	}
}

func BenchmarkBatch(b *testing.B) {
	m := opened(160, 50, false)
	batch := linesMsg{}
	for range history {
		batch.lines = append(batch.lines, line("cart", `{"time":"2026-03-04T12:00:00Z","level":"INFO","msg":"listening","address":"127.0.0.1:20001"}`))
	}
	for b.Loop() {
		m, _ = after(m, batch)
		_ = m.View()
	}
}
