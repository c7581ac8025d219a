//go:build unix

package cli

import "syscall"

// ownSession keeps the terminal's Ctrl-C from the daemon: the client decides.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
