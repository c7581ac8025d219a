// Package broadcast hands values from one publisher to many subscribers without
// ever waiting for a slow one: a subscriber whose queue is full misses the
// value, and is told how many it missed.
package broadcast

import (
	"context"
	"sync"
)

// Topic is what values are published to. The zero Topic is ready to use.
type Topic[T any] struct {
	// Weigh says how much a dropped value counts; nil: 1.
	Weigh func(T) int

	mu   sync.Mutex
	subs map[*Subscription[T]]struct{}
}

// Subscription is one subscriber's queue.
type Subscription[T any] struct {
	topic  *Topic[T]
	queue  chan T
	missed int // guarded by topic.mu
}

// Publish offers v to every subscriber and returns at once.
func (t *Topic[T]) Publish(v T) {
	t.Update(func() (T, bool) { return v, true })
}

// Subscribe returns a subscription with room for size values. snapshot, if not
// nil, runs while nothing can be published: what it sees and what the
// subscription then gets have no gap and no overlap, provided that publishers
// change their state through Update.
func (t *Topic[T]) Subscribe(size int, snapshot func()) *Subscription[T] {
	s := &Subscription[T]{topic: t, queue: make(chan T, size)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if snapshot != nil {
		snapshot()
	}
	if t.subs == nil {
		t.subs = map[*Subscription[T]]struct{}{}
	}
	t.subs[s] = struct{}{}
	return s
}

// Update runs change and publishes what it returns, in one step: no snapshot
// falls between the two. Nothing is published when change reports false.
func (t *Topic[T]) Update(change func() (T, bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := change()
	if !ok {
		return
	}
	for s := range t.subs {
		select {
		case s.queue <- v:
		default:
			s.missed += t.weight(v)
		}
	}
}

// Hold runs f while nothing can be published.
func (t *Topic[T]) Hold(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
}

func (t *Topic[T]) weight(v T) int {
	if t.Weigh == nil {
		return 1
	}
	return t.Weigh(v)
}

// C is the queue. It is never closed: a reader also waits on its context.
func (s *Subscription[T]) C() <-chan T { return s.queue }

// Missed returns the weight of what was dropped since the last call.
func (s *Subscription[T]) Missed() int {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	n := s.missed
	s.missed = 0
	return n
}

// Each calls take with every value as it comes, and with the weight of what was
// dropped since take last reported that it passed that on, until ctx ends or take
// fails. What had come when ctx ended is still taken. take may read more from C itself.
func (s *Subscription[T]) Each(ctx context.Context, take func(v T, missed int) (told bool, err error)) error {
	missed := 0
	next := func(v T) error {
		missed += s.Missed()
		told, err := take(v, missed)
		if told {
			missed = 0
		}
		return err
	}
	for {
		select {
		case v := <-s.queue:
			if err := next(v); err != nil {
				return err
			}
		case <-ctx.Done():
			return s.drain(next)
		}
	}
}

// drain hands over what is in the queue, but nothing that comes meanwhile.
func (s *Subscription[T]) drain(next func(v T) error) error {
	for range len(s.queue) {
		select {
		case v := <-s.queue:
			if err := next(v); err != nil {
				return err
			}
		default: // next has read it
			return nil
		}
	}
	return nil
}

// Close ends the subscription.
func (s *Subscription[T]) Close() {
	s.topic.mu.Lock()
	defer s.topic.mu.Unlock()
	delete(s.topic.subs, s)
}
