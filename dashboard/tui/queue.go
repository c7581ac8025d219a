package tui

import (
	"context"
	"iter"
	"sync"

	"github.com/ebef7166/mesh/runtime/logs"
)

// slot holds the newest value for a reader; at its bound of one the older value
// is dropped, because only the newest matters.
type slot[T any] chan T

func newSlot[T any]() slot[T] { return make(slot[T], 1) }

func (s slot[T]) put(v T) {
	for {
		select {
		case s <- v:
			return
		default:
		}
		select {
		case <-s:
		default:
		}
	}
}

// each is the values as they come, until ctx ends.
func (s slot[T]) each(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case v := <-s:
				if ctx.Err() != nil || !yield(v) {
					return
				}
			}
		}
	}
}

// queueLimit is how many lines wait for the model; at the bound the oldest are
// dropped and counted.
const queueLimit = 2 * history

// lineQueue is the lines on their way to the model.
type lineQueue struct {
	ready slot[struct{}]

	mu     sync.Mutex
	lines  []logs.Line
	missed int
}

func newLineQueue() *lineQueue { return &lineQueue{ready: newSlot[struct{}]()} }

// add never waits for the model.
func (q *lineQueue) add(l logs.Line) {
	q.mu.Lock()
	q.lines = append(q.lines, l)
	if len(q.lines) > queueLimit {
		// A quarter at once: what is dropped is not copied line by line.
		for _, dropped := range q.lines[:queueLimit/4] {
			q.missed += 1 + dropped.Missed
		}
		q.lines = append(q.lines[:0], q.lines[queueLimit/4:]...)
	}
	q.mu.Unlock()
	q.ready.put(struct{}{})
}

// take is what has come, with the count of what was dropped before it.
func (q *lineQueue) take() []logs.Line {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines := q.lines
	if len(lines) > 0 {
		lines[0].Missed += q.missed
		q.missed = 0
	}
	q.lines = nil
	return lines
}
