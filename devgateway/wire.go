package devgateway

import (
	"bytes"
	"strings"
)

// verdict is what a scan found.
type verdict int

const (
	wireGood  verdict = iota
	wireOther         // HTTP/2: not looked at any more
	wireBad           // not well formed, or ambiguous
	wireLong          // a head of more than maxHeaderBytes
)

// wire follows the messages on a connection (RFC 9112): where lines end, which
// lengths they give, and where the next one begins.
type wire struct {
	at      position
	line    []byte // the beginning of a line whose end has not come yet
	skip    int64  // bytes of a body, or of a chunk, that are still to come
	head    head
	size    int    // of the head under way: of its lines that are whole
	started bool   // a message has begun on this connection
	agreed  string // the protocol of ALPN: h2, http/1.1, or "" for either
}

// position is what comes next.
type position int

const (
	atStart position = iota // a request line
	atHeader
	atBody    // skip bytes, and then a request line
	atSize    // the size of a chunk
	atChunk   // skip bytes, and then the end of the line
	atEnd     // the end of the line behind a chunk
	atTrailer // after the last chunk
)

// head is what is known of the message under way.
type head struct {
	lengths, codings, hosts int
	length                  int64
	old                     bool // HTTP/1.0
}

// scan looks at what has come. With a verdict other than wireGood, only the first
// good bytes of it are.
func (w *wire) scan(p []byte) (good int, v verdict) {
	for good < len(p) {
		if w.at == atBody || w.at == atChunk {
			n := min(w.skip, int64(len(p)-good))
			good += int(n)
			if w.skip -= n; w.skip == 0 && w.at == atBody {
				w.at = atStart
			} else if w.skip == 0 {
				w.at = atEnd
			}
			continue
		}
		end := bytes.IndexByte(p[good:], '\n')
		if end < 0 {
			return good, w.hold(p[good:])
		}
		line := p[good : good+end]
		if len(w.line) > 0 {
			line = append(w.line, line...)
		}
		if v := w.take(line); v != wireGood {
			return good, v
		}
		w.line = w.line[:0]
		good += end + 1
	}
	return good, wireGood
}

// hold keeps the beginning of a line. What is no end of a chunk is none from its first
// byte on: net/http does not wait for the rest either.
func (w *wire) hold(begin []byte) verdict {
	switch held := len(w.line) + len(begin); {
	case w.tooLong(held):
		return wireLong
	case held > 2*maxHeaderBytes:
		return wireBad
	}
	w.line = append(w.line, begin...)
	if w.at == atEnd && string(w.line) != "\r" {
		return wireBad
	}
	return wireGood
}

// tooLong says whether a head is too long with so many bytes more. It is counted here
// since net/http takes 4 KiB and more beyond its bound.
func (w *wire) tooLong(more int) bool {
	switch w.at {
	case atStart:
		return more > maxHeaderBytes
	case atHeader:
		return w.size+more > maxHeaderBytes
	}
	return false
}

// take looks at a line, which ends before its LF.
func (w *wire) take(line []byte) verdict {
	size := len(line) + len("\n")
	if w.tooLong(size) {
		return wireLong
	}
	if w.at == atStart {
		w.size = 0
	}
	w.size += size
	text, found := bytes.CutSuffix(line, []byte("\r"))
	if !found || !plain(text) {
		return wireBad
	}
	switch w.at {
	case atStart:
		return w.requestLine(text)
	case atHeader:
		return w.headerLine(text)
	case atSize:
		return w.chunkSize(text)
	case atTrailer:
		return w.trailerLine(text)
	}
	if w.at = atSize; len(text) > 0 { // atEnd
		return wireBad
	}
	return wireGood
}

// plain reports that a line holds no control character but tabs (RFC 9110, 5.5).
func plain(text []byte) bool {
	for _, b := range text {
		if b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

func (w *wire) requestLine(text []byte) verdict {
	if !w.started && (string(text) == "PRI * HTTP/2.0" || w.agreed == "h2") {
		return w.preface(text)
	}
	method, rest, _ := bytes.Cut(text, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	if !token(method) || len(target) == 0 || string(version) != "HTTP/1.1" && string(version) != "HTTP/1.0" {
		return wireBad
	}
	w.started, w.at, w.head = true, atHeader, head{old: string(version) == "HTTP/1.0"}
	return wireGood
}

// preface begins HTTP/2 (RFC 9113, 3.4), unless ALPN said otherwise.
func (w *wire) preface(text []byte) verdict {
	if w.agreed == "http/1.1" || string(text) != "PRI * HTTP/2.0" {
		return wireBad
	}
	return wireOther
}

func (w *wire) headerLine(text []byte) verdict {
	if len(text) == 0 {
		return w.body()
	}
	name, value, ok := field(text)
	if !ok {
		return wireBad
	}
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		w.head.lengths++
		length, ok := number(value, 10)
		if w.head.length = length; !ok {
			return wireBad
		}
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		w.head.codings++
		if !bytes.EqualFold(value, []byte("chunked")) {
			return wireBad
		}
	case bytes.EqualFold(name, []byte("Host")):
		w.head.hosts++
	}
	return wireGood
}

// field splits a header line. A folded one, and one whose name is followed by a
// space, is refused (RFC 9112, 5.1 and 5.2).
func field(text []byte) (name, value []byte, ok bool) {
	name, value, found := bytes.Cut(text, []byte(":"))
	return name, bytes.Trim(value, " \t"), found && token(name)
}

// body decides what comes behind a head (RFC 9112, 6.3): a length and a coding
// together are how requests are smuggled.
func (w *wire) body() verdict {
	h := w.head
	switch {
	case h.hosts > 1 || h.hosts == 0 && !h.old:
		return wireBad
	case h.lengths > 1 || h.codings > 1 || h.lengths > 0 && h.codings > 0 || h.codings > 0 && h.old:
		return wireBad
	case h.codings > 0:
		w.at = atSize
	case h.length > 0:
		w.at, w.skip = atBody, h.length
	default:
		w.at = atStart
	}
	return wireGood
}

// chunkSize reads the size of a chunk; what may follow it after a semicolon is
// the server's to skip.
func (w *wire) chunkSize(text []byte) verdict {
	digits, _, _ := bytes.Cut(text, []byte(";"))
	size, ok := number(bytes.TrimRight(digits, " \t"), 16)
	if !ok {
		return wireBad
	}
	if w.at, w.skip = atChunk, size; size == 0 {
		w.at = atTrailer
	}
	return wireGood
}

func (w *wire) trailerLine(text []byte) verdict {
	if len(text) == 0 {
		w.at = atStart
		return wireGood
	}
	if _, _, ok := field(text); !ok {
		return wireBad
	}
	return wireGood
}

// number reads digits and nothing else: no sign, no 0x, no underscore, and not
// more than a length can be.
func number(text []byte, base int64) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 15 {
		return 0, false
	}
	for _, b := range text {
		digit := int64(strings.IndexByte("0123456789abcdef", b|0x20))
		if b >= '0' && b <= '9' {
			digit = int64(b - '0')
		}
		if digit < 0 || digit >= base {
			return 0, false
		}
		n = n*base + digit
	}
	return n, true
}

// token reports that text is one (RFC 9110, 5.6.2).
func token(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	for _, b := range text {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(b)) {
			return false
		}
	}
	return true
}
