package guardian

import (
	"fmt"
	"syscall"
)

const stopSignal = syscall.SIGTERM

// adopt makes this process a subreaper: what the daemon leaves behind by its death
// becomes this process's child (prctl(2)). golang.org/x/sys is not imported for it,
// since its path is initialised late.
func adopt() error {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, setChildSubreaper, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("become a subreaper: %w", errno)
	}
	return nil
}

// attributes has the daemon stop everything in order should the guard be killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
