package escape

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext":                            "plain\ttext",
		"\x1b[31mred\x1b[0m":                     "red",
		"\x1b]52;c;aGk=\x07":                     `\x1b]52;c;aGk=\x07`,
		"\x1b]8;;http://x\x1b\\y":                `\x1b]8;;http://x\x1b\y`,
		"\x1b[2J":                                `\x1b[2J`,
		"over\rwrite":                            `over\rwrite`,
		"bad \xff":                               `bad \xff`,
		"größe €":                                "größe €",
		"\u202egnp.exe":                          `\u202egnp.exe`,
		"\u009b2J":                               `\x9b2J`,
		"\x1b[" + strings.Repeat("1;", 50) + "m": `\x1b[` + strings.Repeat("1;", 50) + "m",
	} {
		if got := Terminal(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{"plain\ttext": "plain\ttext", "/\x1b[31mred\x1b[0m": `/\x1b[31mred\x1b[0m`, "over\rwrite": `over\rwrite`} {
		if got := Visible(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzTerminal(f *testing.F) {
	f.Add("\x1b]0;title\x07")
	f.Fuzz(func(t *testing.T, text string) {
		for _, out := range []string{Terminal(text), Visible(text)} {
			if !utf8.ValidString(out) || strings.ContainsAny(out, "\x1b\r\n\x07\x00") {
				t.Errorf("%q became %q", text, out)
			}
		}
	})
}
