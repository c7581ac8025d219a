package devgateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ebef7166/mesh/internal/broadcast"
)

// AccessLog keeps the newest records and hands each to whoever follows. The zero
// AccessLog is ready to use.
//
// It never holds a request up: its lock is held for as long as it takes to write a
// record down, a look at those that are kept copies no record, and a follower that
// is too slow misses some and is told how many.
type AccessLog struct {
	topic  broadcast.Topic[Record]
	blocks [][]Record // guarded by topic; what is written in a block does not change
}

// Bounds of the log: mostBlocks of blockSize records are kept, at most about 4 MiB,
// and the oldest block goes first; followQueue records wait for a follower, and
// further ones are missed and counted.
const (
	blockSize   = 256
	mostBlocks  = 32
	followQueue = 1024
)

// Observe writes a record down.
func (l *AccessLog) Observe(r Record) {
	l.topic.Update(func() (Record, bool) {
		l.add(r)
		return r, true
	})
}

func (l *AccessLog) add(r Record) {
	last := len(l.blocks) - 1
	if last < 0 || len(l.blocks[last]) == blockSize {
		if len(l.blocks) == mostBlocks {
			l.blocks = slices.Delete(l.blocks, 0, 1)
		}
		l.blocks = append(l.blocks, make([]Record, 0, blockSize))
		last = len(l.blocks) - 1
	}
	l.blocks[last] = append(l.blocks[last], r)
}

// AccessQuery says which records are wanted.
type AccessQuery struct {
	Services []string       // callers or callees; none: all
	Since    time.Time      // that began then or later
	Last     int            // so many of those that there are; 0: all
	Grep     *regexp.Regexp // of the record as text; nil: all
}

func (q *AccessQuery) wants(r *Record) bool {
	return (len(q.Services) == 0 || slices.Contains(q.Services, r.Callee) || slices.Contains(q.Services, r.Caller)) &&
		!r.Start.Before(q.Since) && (q.Grep == nil || q.Grep.MatchString(r.String()))
}

// AccessLine is a record as followers get it.
type AccessLine struct {
	Record
	Missed int // records that this follower missed before this one
}

// Follow calls emit with what there is, and with follow for what comes, until ctx
// ends or emit fails. emit may be slow; only this follower loses by it.
func (l *AccessLog) Follow(ctx context.Context, q AccessQuery, follow bool, emit func([]AccessLine) error) error {
	var past [][]Record
	sub := l.topic.Subscribe(followQueue, func() { past = slices.Clone(l.blocks) })
	defer sub.Close()
	if err := emit(q.collect(past)); err != nil || !follow {
		return err
	}
	q.Since = time.Time{} // what comes is new, even where the clock is set back
	return sub.Each(ctx, func(r Record, missed int) (told bool, err error) {
		lines := q.gather(r, sub.C())
		if len(lines) == 0 {
			return false, nil
		}
		lines[0].Missed = missed
		return true, emit(lines)
	})
}

func (q *AccessQuery) collect(blocks [][]Record) []AccessLine {
	var lines []AccessLine
	for _, block := range blocks {
		for i := range block {
			if q.wants(&block[i]) {
				lines = append(lines, AccessLine{Record: block[i]})
			}
		}
	}
	if q.Last > 0 && len(lines) > q.Last {
		lines = lines[len(lines)-q.Last:]
	}
	return lines
}

// gather is a record with those that wait behind it.
func (q *AccessQuery) gather(r Record, queue <-chan Record) (lines []AccessLine) {
	for n := 1; ; n++ {
		if q.wants(&r) {
			lines = append(lines, AccessLine{Record: r})
		}
		if n == followQueue {
			return lines
		}
		select {
		case r = <-queue:
		default:
			return lines
		}
	}
}

// String is the record as a person reads it, without its time:
//
//	gateway -> cart-1 POST /cart.v1.CartService/AddItem 200 12ms 345B alice
//	gateway -> cart GET /cart/x 503 1s 120B: cart has no healthy instance
func (r *Record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s -> %s %s %s %d %v %dB", r.Caller, cmp.Or(r.Instance, r.Callee, "-"), cmp.Or(r.Method, r.Protocol), cmp.Or(r.Path, "-"),
		r.Status, r.Duration.Round(100*time.Microsecond), r.ResponseBytes)
	if r.GRPC != "" {
		b.WriteString(" grpc " + r.GRPC)
	}
	if r.Retries > 0 {
		fmt.Fprintf(&b, " after %d more", r.Retries)
	}
	if r.Subject != "" {
		b.WriteString(" " + r.Subject)
	}
	if r.Cause != "" {
		b.WriteString(": " + r.Cause)
	}
	return b.String()
}

type accessJSON struct {
	Record
	Seconds float64 `json:"duration"`
	Missed  int     `json:"missed,omitempty"`
}

// MarshalJSON writes the duration as seconds.
func (l AccessLine) MarshalJSON() ([]byte, error) {
	return json.Marshal(accessJSON{l.Record, l.Duration.Seconds(), l.Missed})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (l *AccessLine) UnmarshalJSON(body []byte) error {
	var in accessJSON
	if err := json.Unmarshal(body, &in); err != nil {
		return err
	}
	*l = AccessLine{in.Record, in.Missed}
	l.Duration = time.Duration(in.Seconds * float64(time.Second))
	return nil
}
