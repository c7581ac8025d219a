package logs

import (
	"context"
	"errors"
	"io/fs"
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
	failed   error // the last failure to write to disk
}

// serviceLog is one service's file and ring. A service waits for its own file
// only.
type serviceLog struct {
	path string

	mu      sync.Mutex // guards the file
	file    *os.File
	size    int64
	encoded []byte // to be used again

	ring  []*batch // guarded by Store.topic
	bytes int
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
	if err := log.write(b); err != nil {
		s.mu.Lock()
		s.failed = err
		s.mu.Unlock()
	}
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

func (l *serviceLog) remember(b *batch, room int) {
	l.ring = append(l.ring, b)
	l.bytes += len(b.data)
	for l.bytes > room && len(l.ring) > 1 {
		l.bytes -= len(l.ring[0].data)
		l.ring[0] = nil
		l.ring = l.ring[1:]
	}
}

func (l *serviceLog) write(b *batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.open(); err != nil {
		return err
	}
	l.encoded = encode(l.encoded[:0], b)
	n, err := l.file.Write(l.encoded)
	if l.size += int64(n); cap(l.encoded) > keptBuffer {
		l.encoded = nil
	}
	if err == nil && l.size > fileBytes {
		err = l.rotate()
	}
	return err
}

func (l *serviceLog) open() error {
	if l.file != nil {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// rotate moves NAME.log to NAME.log.1 and so on; the oldest is lost.
func (l *serviceLog) rotate() error {
	err := l.file.Close()
	l.file = nil
	for i := oldFiles; i > 0; i-- {
		if e := os.Rename(rotated(l.path, i-1), rotated(l.path, i)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func rotated(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + string(rune('0'+i))
}

// Err is the last failure to write to disk, nil when there was none.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
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

func (l *serviceLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
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
	slices.SortStableFunc(batches, func(a, b *batch) int { return a.time.Compare(b.time) })
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
	for {
		select {
		case <-ctx.Done():
			return nil
		case b := <-sub.C():
			lines := b.lines(&q, nil)
			if missed := sub.Missed(); missed > 0 && len(lines) > 0 {
				lines[0].Missed = missed
			}
			if len(lines) == 0 {
				continue
			}
			if err := emit(lines); err != nil {
				return err
			}
		}
	}
}

// Writer returns a writer for one stream of an instance. Close it to store an
// unfinished last line.
func (s *Store) Writer(service, instance, stream string) *Writer {
	return &Writer{store: s, service: service, instance: instance, stream: stream, now: time.Now}
}
