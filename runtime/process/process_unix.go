//go:build unix

package process

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalGroup may find nobody to tell: the group may have ended.
func (p *Process) signalGroup(signal syscall.Signal) { _ = syscall.Kill(-p.PID(), signal) }

// killGroup may find nobody to kill, either.
func killGroup(leader int) { _ = syscall.Kill(-leader, syscall.SIGKILL) }

func signalName(s syscall.Signal) string { return unix.SignalName(s) }

// Signal is the signal called name: SIGTERM, TERM and term are the same.
func Signal(name string) (syscall.Signal, error) {
	upper := strings.ToUpper(name)
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	if s := unix.SignalNum(upper); s != 0 {
		return s, nil
	}
	return 0, fmt.Errorf("no signal is called %q; common ones are SIGTERM, SIGINT, SIGQUIT, SIGHUP", name)
}
