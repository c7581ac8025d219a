//go:build unix

package process

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copySome waits until there is something to read, and only then takes a buffer:
// a thousand silent instances need none.
func (o *output) copySome(to io.Writer, from *os.File) error {
	conn, err := from.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Read(func(fd uintptr) (done bool) {
		buf := o.buffers.Get().(*[]byte)
		defer o.buffers.Put(buf)
		n, err := unix.Read(int(fd), *buf)
		for err == unix.EINTR {
			n, err = unix.Read(int(fd), *buf)
		}
		switch {
		case err == unix.EAGAIN:
			return false
		case err != nil:
			failed = err
		case n == 0:
			failed = io.EOF
		default:
			_, _ = to.Write((*buf)[:n])
		}
		return true
	})
	if err != nil {
		return err
	}
	return failed
}
