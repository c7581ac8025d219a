package process

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// KillLeft kills everything that a daemon left behind, to its guard: what is in the
// cgroup of the copy of the workspace whose state folder is given, and children, until
// wait4(2) says that there are none any more.
func KillLeft(daemon int, state string) {
	left := cgroupOf(state, daemon)
	left.kill()
	killAll()
	left.remove()
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

// wordFile is there while an earlier mesh's word holds that it has left nothing: one
// that was killed had no time to give it, nor does one without a cgroup know.
func wordFile(state string) string { return filepath.Join(state, "run", "nothing-left") }

func giveWord(state string) { _ = os.WriteFile(wordFile(state), nil, 0o600) } // or the next start looks by itself

// takeWord reports that nothing is left, and takes the word back.
func takeWord(state string) bool { return os.Remove(wordFile(state)) == nil }

// Sweep kills instances that an earlier mesh with this state folder left behind,
// which happens only when the daemon and its guard died at once. They are known
// by their cgroup or, where there was none, by their environment: every process of the
// machine is looked at. It returns how many there were.
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
