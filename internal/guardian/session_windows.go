package guardian

import "syscall"

// anywhere is where the command was called.
const anywhere = ""

// ownSession keeps the console's Ctrl-C from the daemon: the client decides.
func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// keepToOurselves has nothing to do: handles are not inherited unasked.
func keepToOurselves() {}
