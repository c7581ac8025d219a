package process

import (
	"io"
	"os"
	"sync"
	"time"
)

// output copies a process's two streams to their writers. It has pipes of its
// own, so that a grandchild that keeps one open cannot hold up the wait for the
// process.
type output struct {
	writers [2]*os.File // the process's ends
	readers [2]*os.File
	to      [2]io.Writer
	buffers *sync.Pool
	copying sync.WaitGroup
}

func newOutput(buffers *sync.Pool, stdout, stderr io.Writer) (*output, error) {
	o := &output{buffers: buffers, to: [2]io.Writer{stdout, stderr}}
	for i := range o.readers {
		r, w, err := os.Pipe()
		if err != nil {
			o.abandon()
			return nil, err
		}
		o.readers[i], o.writers[i] = r, w
	}
	return o, nil
}

func (o *output) abandon() {
	for i := range o.readers {
		closeFile(o.readers[i])
		closeFile(o.writers[i])
	}
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close() // a pipe's end: nothing can be lost by closing it
	}
}

// started gives up the process's ends and begins to read.
func (o *output) started() {
	for i := range o.readers {
		closeFile(o.writers[i])
		o.copying.Go(func() { o.copyAll(o.to[i], o.readers[i]) })
	}
}

// copyAll reads until the end, or the deadline that finish sets. What cannot be
// written is dropped: the process must never be held up by its log.
func (o *output) copyAll(to io.Writer, from *os.File) {
	for o.copySome(to, from) == nil {
	}
	if c, ok := to.(io.Closer); ok {
		_ = c.Close()
	}
}

// finish reads what is left, for at most grace, and closes the pipes.
func (o *output) finish(grace time.Duration) {
	for _, r := range o.readers {
		// A pipe that takes no deadline ends with its last writer.
		_ = r.SetReadDeadline(time.Now().Add(grace))
	}
	o.copying.Wait()
	for _, r := range o.readers {
		closeFile(r)
	}
}
