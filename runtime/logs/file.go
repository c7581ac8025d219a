package logs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A file holds one line a line: time, instance and stream, then the line itself
// as it was written. The time is of a fixed width and the same for all lines of
// a batch, so that it is formatted once for many lines.
const fileTime = "2006-01-02T15:04:05.000000000Z"

func encode(out []byte, b *batch) []byte {
	head := append(b.time.UTC().AppendFormat(nil, fileTime), ' ')
	head = append(append(append(head, b.instance...), ' '), b.stream...)
	head = append(head, ' ')
	for line := range bytes.Lines(b.data) {
		out = append(append(out, head...), line...)
	}
	return out
}

// Read returns the lines that q wants from the files below dir, in time order:
// for when no daemon runs, or for more than the memory has.
func Read(dir string, q Query) ([]Line, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, err
	}
	var batches []*batch
	for _, path := range paths {
		service := strings.TrimSuffix(filepath.Base(path), ".log")
		var newest time.Time
		for i := oldFiles; i >= 0; i-- {
			more, err := readFile(rotated(path, i), service, &q, &newest)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			batches = append(batches, more...)
		}
	}
	return collect(batches, &q), nil
}

// readFile reads one file of a service. newest is the latest time in it and in
// those before it: what was written after that stands behind it, also where the
// clock was set back.
func readFile(path, service string, q *Query, newest *time.Time) ([]*batch, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []*batch
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if b := parse(service, line); b != nil {
			if b.after = *newest; b.time.After(*newest) {
				*newest = b.time
			}
			if q.wants(b) {
				out = append(out, b)
			}
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// parse reads one line of a file; nil for one that was torn by a crash.
func parse(service string, line []byte) *batch {
	if len(line) <= len(fileTime) || line[len(line)-1] != '\n' {
		return nil
	}
	at, err := time.Parse(fileTime, string(line[:len(fileTime)]))
	if err != nil {
		return nil
	}
	parts := bytes.SplitN(line[len(fileTime)+1:], []byte(" "), 3)
	if len(parts) < 3 {
		return nil
	}
	return &batch{time: at, service: service, instance: string(parts[0]), stream: string(parts[1]), data: parts[2]}
}
