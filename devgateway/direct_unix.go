//go:build unix

package devgateway

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// alive looks whether the instance has closed an idle connection, or said
// something that nobody asked for.
func (c *directConn) alive() bool {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN
		return true
	})
	return err == nil && quiet
}
