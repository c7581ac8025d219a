package logs

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ebef7166/mesh/internal/broadcast"
)

// Bounds of what is kept for each service.
const (
	ringBytes   = 512 << 10 // in memory
	allBytes    = 32 << 20  // in memory, shared by all services when there are many
	keptBuffer  = 256 << 10 // for encoding
	fileBytes   = 10 << 20  // in a file before it is rotated
	oldFiles    = 2         // rotated files kept
	followQueue = 256       // batches that a follower may be behind
)

// Store keeps the logs of a workspace, one file a service, below a folder.
type Store struct {
	dir   string
	topic broadcast.Topic[*batch]

	mu       sync.Mutex
	services map[string]*serviceLog
}

// Open returns the store below dir, which it makes when needed.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, services: map[string]*serviceLog{}}
	s.topic.Weigh = (*batch).count
	return s, nil
}

// append stores a batch and hands it to the followers. A disk that takes no
// more is no reason for a service to stall: the ring and the followers still
// get the lines, and Err tells.
func (s *Store) append(b *batch) {
	log, room := s.service(b.service)
	log.write(b)
	s.topic.Update(func() (*batch, bool) {
		log.remember(b, room)
		return b, true
	})
}

// service returns the log of a service and how much of it the memory keeps.
func (s *Store) service(name string) (log *serviceLog, room int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log = s.services[name]
	if log == nil {
		log = &serviceLog{path: filepath.Join(s.dir, name+".log")}
		s.services[name] = log
	}
	return log, min(ringBytes, max(ringBytes/16, allBytes/len(s.services)))
}

// Err says what keeps lines from the disk now; nil: nothing does.
func (s *Store) Err() error {
	s.mu.Lock()
	logs := slices.Collect(maps.Values(s.services))
	s.mu.Unlock()
	for _, log := range logs {
		if err := log.failing(); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the files.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, log := range s.services {
		err = errors.Join(err, log.close())
	}
	return err
}

// Recent returns what the memory still has of the lines that q wants, in time
// order.
func (s *Store) Recent(q Query) []Line {
	var batches []*batch
	s.topic.Hold(func() { batches = s.recent() })
	return collect(batches, &q)
}

// recent are the batches that the memory has; the topic is held.
func (s *Store) recent() []*batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	var batches []*batch
	for _, log := range s.services {
		batches = append(batches, log.ring...)
	}
	return batches
}

// collect merges batches in time order and keeps the lines that q wants.
func collect(batches []*batch, q *Query) []Line {
	slices.SortStableFunc(batches, func(a, b *batch) int { return a.place().Compare(b.place()) })
	lines := []Line{}
	for _, b := range batches {
		lines = b.lines(q, lines)
	}
	if q.Last > 0 && len(lines) > q.Last {
		lines = lines[len(lines)-q.Last:]
	}
	return lines
}

// Follow calls emit with what Recent returns, and then with the lines as they
// come, until ctx ends or emit fails. A line whose Missed is not 0 follows a
// gap. emit may be slow; only this follower loses by it.
func (s *Store) Follow(ctx context.Context, q Query, emit func([]Line) error) error {
	var past []*batch
	sub := s.topic.Subscribe(followQueue, func() { past = s.recent() })
	defer sub.Close()
	if err := emit(collect(past, &q)); err != nil {
		return err
	}
	q.Since = time.Time{} // what comes is new, even where the clock is set back
	return sub.Each(ctx, func(b *batch, missed int) (told bool, err error) {
		lines := b.lines(&q, nil)
		if len(lines) == 0 {
			return false, nil
		}
		lines[0].Missed = missed
		return true, emit(lines)
	})
}

// Writer returns a writer for one stream of an instance. Close it to store an
// unfinished last line.
func (s *Store) Writer(service, instance, stream string) *Writer {
	return &Writer{store: s, service: service, instance: instance, stream: stream, now: time.Now}
}
