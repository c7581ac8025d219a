//go:build unix

package build

import (
	"os/exec"
	"syscall"
)

const executableSuffix = ""

// interruptible makes the end of the context end the compilers too: they are in
// go's process group.
func interruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
