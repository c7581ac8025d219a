package logs

import (
	"bytes"
	"fmt"
	"sync"
	"time"
)

// Writer splits what an instance prints into whole lines. It keeps the start of
// an unfinished line until the rest comes, at most MaxLine bytes of it.
type Writer struct {
	store                     *Store
	service, instance, stream string
	now                       func() time.Time

	mu      sync.Mutex
	partial []byte
	dropped int // bytes of the unfinished line that were cut off
}

// Write never fails and never waits for a reader.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := bytes.LastIndexByte(p, '\n')
	if end < 0 {
		w.hold(p)
		return len(p), nil
	}
	w.flush(p[:end+1])
	w.hold(p[end+1:])
	return len(p), nil
}

// hold keeps the start of a line that has not ended yet.
func (w *Writer) hold(p []byte) {
	room := MaxLine - len(w.partial)
	if len(p) > room {
		w.dropped += len(p) - room
		p = p[:room]
	}
	w.partial = append(w.partial, p...)
}

// flush stores the held start and the whole lines in p as one batch.
func (w *Writer) flush(p []byte) {
	if len(w.partial) > 0 {
		first := bytes.IndexByte(p, '\n')
		w.hold(p[:first])
		p = append(w.take(), p[first:]...)
	} else {
		p = bytes.Clone(p)
	}
	w.emit(cutLong(p))
}

// take returns the held start of a line, with a mark where it was cut.
func (w *Writer) take() []byte {
	held := w.partial
	if w.dropped > 0 {
		held = fmt.Appendf(held, " [mesh: %d bytes cut]", w.dropped)
	}
	w.partial, w.dropped = nil, 0
	return held
}

func (w *Writer) emit(data []byte) {
	w.store.append(&batch{time: w.now(), service: w.service, instance: w.instance, stream: w.stream, data: data})
}

// cutLong shortens the lines of data that are longer than MaxLine.
func cutLong(data []byte) []byte {
	if len(data) <= MaxLine {
		return data
	}
	var out []byte
	for line := range bytes.Lines(data) {
		if over := len(line) - 1 - MaxLine; over > 64 { // the mark itself takes room
			line = fmt.Appendf(line[:MaxLine:MaxLine], " [mesh: %d bytes cut]\n", over)
		}
		out = append(out, line...)
	}
	return out
}

// Close stores an unfinished last line.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 {
		w.emit(append(w.take(), '\n'))
	}
	return nil
}
