package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How often killTree looks at what is left: until so many looks in a row found
// nothing, and never more than so many in all.
const (
	cleanLooks = 4
	mostLooks  = 500
)

// Run makes this process a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), so that
// what an instance leaves behind becomes our child and can be found, and reaps
// it, until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-children:
			d.reapAdopted()
		}
	}
}

// reapAdopted waits for adopted children that have ended. Our own are left to
// their Wait.
func (d *Driver) reapAdopted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, pid := range childrenOf(os.Getpid()) {
		if d.owned[pid] == nil {
			// 0 or ECHILD: it lives, or is somebody else's to wait for.
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// finish waits for the process and kills what it leaves behind before it is
// reaped: until then its pid and its group are certainly its own.
func (p *Process) finish() (*os.ProcessState, error) {
	for errors.Is(unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	close(p.exited)
	p.driver.killTree(p)
	return p.reap()
}

// reap takes the exit of the ended process and gives up its pid.
func (p *Process) reap() (*os.ProcessState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	state, err := p.cmd.Process.Wait()
	p.driver.mu.Lock()
	defer p.driver.mu.Unlock()
	delete(p.driver.owned, p.PID())
	return state, err
}

// killTree kills the process's group, all its descendants, and what the
// instance left behind that we have adopted, until nothing is found.
func (d *Driver) killTree(p *Process) {
	tree := Descendants(p.PID())
	p.signalGroup(syscall.SIGKILL)
	killEach(tree)
	// The list of children may leave one out while another ends (proc(5)), so
	// one empty look proves nothing.
	for clean, looks := 0, 0; clean < cleanLooks && looks < mostLooks; looks++ {
		left, undecided := d.adopted(p.marker)
		if clean++; len(left) > 0 || undecided {
			clean = 0
		}
		for _, pid := range left {
			killEach(append(Descendants(pid), pid))
		}
		d.reapAdopted()
		time.Sleep(time.Millisecond) // a killed process takes a moment to go
	}
}

func killEach(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
	}
}

// adopted are our children that we did not start and whose environment holds
// marker. One that is between fork and exec, or about to end, has no environment
// that could be read: then it is undecided, and looked at again. A zombie is
// left to reapAdopted.
func (d *Driver) adopted(marker string) (found []int, undecided bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, pid := range childrenOf(os.Getpid()) {
		if d.owned[pid] != nil {
			continue
		}
		env := environ(pid)
		switch {
		case bytes.Contains(env, []byte("\x00"+marker+"\x00")):
			found = append(found, pid)
		case len(env) <= 1 && !zombie(pid):
			undecided = true
		}
	}
	return found, undecided
}

// zombie reports that pid has ended, or is gone (proc(5), the state in stat).
func zombie(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	i := bytes.LastIndexByte(data, ')') // the name may hold anything
	return i < 0 || len(data) < i+3 || data[i+2] == 'Z' || data[i+2] == 'X'
}

func hasEnv(pid int, entry string) bool {
	return bytes.Contains(environ(pid), []byte("\x00"+entry+"\x00"))
}

// environ is the environment that pid was started with, each entry between two
// NULs; nothing for a zombie or where we may not look.
func environ(pid int) []byte {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	return append([]byte{0}, data...)
}

// Descendants are the children of pid, theirs, and so on.
func Descendants(pid int) []int {
	found := childrenOf(pid)
	for i := 0; i < len(found); i++ {
		found = append(found, childrenOf(found[i])...)
	}
	return found
}

// childrenOf reads /proc/PID/task/*/children (proc(5)).
func childrenOf(pid int) []int {
	tasks, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		return nil
	}
	var found []int
	for _, task := range tasks {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(word); err == nil {
				found = append(found, child)
			}
		}
	}
	return found
}

// Guard runs argv as a child and, when that has ended in whatever way, kills
// everything that it left behind, until wait4(2) says that there is nothing any
// more. It is the parent of mesh's daemon: a process that the daemon loses by
// its death becomes the guard's. It returns the exit code of the child.
func Guard(ctx context.Context, argv []string, files []*os.File) (int, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("become a subreaper: %w", err)
	}
	attr := &os.ProcAttr{Env: os.Environ(), Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, files...),
		// Should the guard be killed, the daemon stops everything in order.
		// The signal follows the thread that spawns; main has locked it.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}}
	child, err := os.StartProcess(argv[0], argv, attr)
	if err != nil {
		return 1, err
	}
	for _, f := range files {
		f.Close() // the child has its own; ours would keep the pipes open
	}
	stop := context.AfterFunc(ctx, func() { _ = child.Signal(syscall.SIGTERM) })
	defer stop()
	state, err := child.Wait()
	killAll()
	if err != nil {
		return 1, err
	}
	if code := state.ExitCode(); code >= 0 {
		return code, nil
	}
	return 1, nil
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
// by their environment. It returns how many there were.
func Sweep(state string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	killed := 0
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isInstance(pid, state) && killPinned(pid, state) {
			killed++
		}
	}
	return killed
}

func isInstance(pid int, state string) bool {
	env := environ(pid)
	return bytes.Contains(env, []byte("\x00MESH_STATE="+state+"\x00")) && bytes.Contains(env, []byte("\x00MESH_INSTANCE="))
}

// killPinned pins the process by pidfd_open(2), looks again and then signals, so
// that a pid that was reused in between hurts nobody.
func killPinned(pid int, state string) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return isInstance(pid, state) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// Means names how processes are held, for people.
func Means() string { return "subreaper guard" }
