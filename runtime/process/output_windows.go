package process

import (
	"io"
	"os"
)

func (o *output) copySome(to io.Writer, from *os.File) error {
	buf := o.buffers.Get().(*[]byte)
	defer o.buffers.Put(buf)
	n, err := from.Read(*buf)
	if n > 0 {
		_, _ = to.Write((*buf)[:n])
	}
	return err
}
