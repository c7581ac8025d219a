// Package logs keeps what instances print: on disk at once, in a bounded ring in
// memory, and to whoever follows. A producer is never slowed down by a reader:
// a follower that cannot keep up loses lines and is told how many.
package logs

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Streams that a line may come from.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Build  = "build"
)

// MaxLine is the longest line kept, in bytes; the rest of a longer one is
// dropped and the cut is marked.
const MaxLine = 64 << 10

// Line is one line of a log.
type Line struct {
	Time     time.Time       `json:"time"`
	Service  string          `json:"service"`
	Instance string          `json:"instance"`
	Stream   string          `json:"stream"`
	Line     string          `json:"line"`             // valid UTF-8, without the newline
	Fields   json.RawMessage `json:"fields,omitempty"` // the line itself, where it is a JSON object
	Missed   int             `json:"missed,omitempty"` // lines dropped before this one, for a slow follower
}

// batch is a run of whole lines that one instance wrote to one stream, read at
// one time. Batches rather than lines are stored and passed around: what nobody
// looks at is never split.
type batch struct {
	time     time.Time
	service  string
	instance string
	stream   string
	data     []byte    // ends with a newline; never changed once published
	after    time.Time // of a file: the latest time of what was written before; zero elsewhere
}

// place is where the batch stands among others, in time.
func (b *batch) place() time.Time {
	if b.after.After(b.time) {
		return b.after
	}
	return b.time
}

func (b *batch) count() int { return bytes.Count(b.data, []byte{'\n'}) }

// lines appends the lines of the batch that q wants.
func (b *batch) lines(q *Query, out []Line) []Line {
	if !q.wants(b) {
		return out
	}
	for raw := range bytes.Lines(b.data) {
		text := strings.ToValidUTF8(string(bytes.TrimRight(raw, "\r\n")), "\uFFFD")
		if q.Grep != nil && !q.Grep.MatchString(text) {
			continue
		}
		out = append(out, Line{Time: b.time, Service: b.service, Instance: b.instance, Stream: b.stream, Line: text, Fields: fields(text)})
	}
	return out
}

func fields(text string) json.RawMessage {
	if !strings.HasPrefix(text, "{") || !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

// Query says which lines are wanted. The zero Query wants them all.
type Query struct {
	Services []string       // none: all
	Since    time.Time      // zero: from the beginning
	Last     int            // at most so many, the newest; 0: no limit
	Grep     *regexp.Regexp // nil: every line
}

func (q *Query) wants(b *batch) bool {
	if len(q.Services) > 0 && !slices.Contains(q.Services, b.service) {
		return false
	}
	return q.Since.IsZero() || !b.time.Before(q.Since)
}
