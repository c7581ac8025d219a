//go:build unix

package guardian

import (
	"os"
	"strconv"
	"syscall"
)

// anywhere is a folder that nobody wants to remove, or to unmount.
const anywhere = "/"

// ownSession keeps the terminal's Ctrl-C from the daemon: the client decides.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// keepToOurselves has no process inherit what this one was given beside its standard
// streams: a lock or a pipe of a script is not to live as long as a daemon.
func keepToOurselves() {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // a system that does not tell
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd) // of one that has been closed meanwhile, too
		}
	}
}
