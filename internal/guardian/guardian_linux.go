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

// manyFiles is room for those of more than a thousand instances, in 64 KiB.
const manyFiles = 8 << 10

// prepare makes room in this process's file table. The kernel doubles a table that is
// full, and where threads share it none of them can open a file meanwhile, for a grace
// period of RCU (expand_files in its fs/file.c): some 15 ms, five times in the start
// of 200 instances. It takes one itself, all of it in the kernel.
func prepare() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	highest := min(manyFiles, limit.Cur) - 1
	if fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(syscall.Stderr), syscall.F_DUPFD_CLOEXEC, uintptr(highest)); errno == 0 {
		_ = syscall.Close(int(fd)) // nothing was written
	}
}
