package process

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

func newGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// signalGroup kills: a Windows process cannot be asked to end by a signal.
func (p *Process) signalGroup(syscall.Signal) { _ = p.cmd.Process.Kill() }

// killGroup kills the leader: Windows knows no more of a group.
func killGroup(leader int) {
	if p, err := os.FindProcess(leader); err == nil {
		_ = p.Kill() // it may have ended by now
	}
}

func signalName(s syscall.Signal) string { return s.String() }

// Signal knows SIGTERM and SIGINT; both end the process at once.
func Signal(name string) (syscall.Signal, error) {
	switch strings.TrimPrefix(strings.ToUpper(name), "SIG") {
	case "TERM", "KILL":
		return syscall.SIGTERM, nil
	case "INT":
		return syscall.SIGINT, nil
	}
	return 0, fmt.Errorf("no signal is called %q on Windows; there are SIGTERM and SIGINT", name)
}
