package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// serviceLog is one service's file and ring. A service waits for its own file
// only.
type serviceLog struct {
	path string

	mu      sync.Mutex // guards the file
	file    *os.File
	size    int64
	encoded []byte // to be used again
	failed  error  // of the last write; nil: it went well
	lost    *batch // of the last write that failed
	missing int    // lines that are not in the file since then

	ring  []*batch // guarded by Store.topic
	bytes int
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

// write puts a batch into the file, or counts what is missing there.
func (l *serviceLog) write(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = l.put(b)
	} else if l.resume() == nil {
		l.failed = l.put(b)
	}
	if l.failed != nil {
		l.lost, l.missing = b, l.missing+b.count()
	}
}

// failing says why the file lacks lines, once it has tried whether it still has
// to.
func (l *serviceLog) failing() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		return nil
	}
	return l.resume()
}

// resume writes what a reader of the file must know about the lines that are
// missing; the lock is held.
func (l *serviceLog) resume() error {
	why := l.failed
	note := *l.lost
	note.data = fmt.Appendf(nil, "[mesh: %d lines before this one were not kept: %v]\n", l.missing, why)
	if l.failed = l.put(&note); l.failed == nil {
		l.lost, l.missing = nil, 0
	}
	return l.failed
}

// put appends a batch to the file. What fails leaves no part of it, and no open
// file: the disk may be another one by the next try.
func (l *serviceLog) put(b *batch) error {
	if err := l.open(); err != nil {
		return err
	}
	l.encoded = encode(l.encoded[:0], b)
	n, err := l.file.Write(l.encoded)
	if err != nil {
		_ = l.file.Truncate(l.size) // what is left of a line is skipped when it is read
		_ = l.file.Close()
		l.file = nil
		return err
	}
	if l.size += int64(n); cap(l.encoded) > keptBuffer {
		l.encoded = nil
	}
	return nil
}

// open makes sure that there is a file with room.
func (l *serviceLog) open() error {
	if l.file != nil && l.size <= fileBytes {
		return nil
	}
	if l.file != nil {
		if err := l.rotate(); err != nil {
			return err
		}
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
