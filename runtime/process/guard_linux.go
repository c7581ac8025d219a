package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Guard runs argv as a child and, when that has ended in whatever way, kills
// everything that it left behind: what is in the cgroup of the copy of the
// workspace whose state folder is given, and children, until wait4(2) says that
// there are none any more. It is the parent of mesh's daemon: a process that the
// daemon loses by its death becomes the guard's. It returns the exit code of the
// child.
func Guard(ctx context.Context, argv []string, files []*os.File, state string) (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become a subreaper: %w", err)
	}
	// Should the guard be killed, the daemon stops everything in order. The signal
	// follows the thread that spawns; main has locked it.
	sys := &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	daemon, code, err := guarded(ctx, argv, files, sys, syscall.SIGTERM)
	if daemon == 0 {
		return code, err
	}
	left := cgroupOf(state, daemon)
	left.kill()
	killAll()
	left.remove()
	return code, err
}

// killAll kills children until there are none: killing makes new ones, since
// theirs become ours.
func killAll() {
	for {
		killEach(childrenOf(os.Getpid()))
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.ECHILD) {
				return
			}
			if pid <= 0 && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// Sweep kills instances that an earlier mesh with this state folder left behind,
// which happens only when the daemon and its guard died at once. They are known
// by their cgroup or, where there was none, by their environment. It returns how many
// processes there were.
func Sweep(state string) (n int) {
	left, _ := leftCgroup(state)
	n = left.kill()
	left.remove()
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isInstance(pid, state) {
			killPinned(pid, state)
			n++
		}
	}
	return n
}

func isInstance(pid int, state string) bool {
	env := environ(pid)
	return bytes.Contains(env, []byte("\x00MESH_STATE="+state+"\x00")) && bytes.Contains(env, []byte("\x00MESH_INSTANCE="))
}

// killPinned pins the process by pidfd_open(2), looks again and then signals, so
// that a pid that was reused in between hurts nobody.
func killPinned(pid int, state string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // gone already
	}
	defer unix.Close(fd)
	if isInstance(pid, state) {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may have ended by now
	}
}
