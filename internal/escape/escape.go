// Package escape makes text from elsewhere safe to print.
package escape

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Terminal returns text in which nothing can move the cursor, change the title,
// reach the clipboard or pretend to be another line: control characters are
// written as \x1b, \r or \u202e. Colours (SGR sequences, ECMA-48 section
// 8.3.117) are dropped, tabs are kept.
func Terminal(text string) string { return escaped(text, colour) }

// Visible is Terminal for text that nobody prints in colours, such as what a request
// asked for: colours are written as what they are, and nothing is dropped.
func Visible(text string) string { return escaped(text, func(string) int { return 0 }) }

// escaped leaves out as much as drop says that text begins with.
func escaped(text string, drop func(string) int) string {
	if plain(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if n := drop(text[i:]); n > 0 {
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\r':
			b.WriteString(`\r`)
		case r != '\t' && harmful(r):
			writeEscaped(&b, r)
		default:
			b.WriteRune(r)
		}
		i += max(size, 1)
	}
	return b.String()
}

func plain(text string) bool {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c != '\t' && (c < 0x20 || c >= 0x7f) {
			return false
		}
	}
	return true
}

// harmful are the control characters, C1 among them, and those that reorder
// text.
func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

func writeEscaped(b *strings.Builder, r rune) {
	if r < 0x100 {
		fmt.Fprintf(b, `\x%02x`, r)
		return
	}
	fmt.Fprintf(b, `\u%04x`, r)
}

// colour is the length of the SGR sequence that text begins with, or 0.
func colour(text string) int {
	if !strings.HasPrefix(text, "\x1b[") {
		return 0
	}
	for i := 2; i < len(text) && i < 40; i++ {
		switch c := text[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && c != ':' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}
