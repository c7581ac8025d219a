package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is a control group (cgroups(7)): what a process in it starts is in it
// too, whatever session, group or environment it gives itself. In version 2 a
// group is killed by one write; in version 1 it is frozen first, so that nobody
// forks while the others are killed.
//
// A nil *cgroup stands for none.
type cgroup struct {
	dir  string
	home string // version 1: the file by which a thread goes back to where mesh is; "": version 2
}

// openCgroup makes the group of a copy of a workspace inside mesh's own and
// writes down, in the state folder, where it is. It returns nil where this is
// not permitted.
func openCgroup(state string) *cgroup {
	for _, own := range ownCgroups() {
		group := &cgroup{dir: filepath.Join(own.dir, cgroupName(state)), home: own.home}
		if os.Mkdir(group.dir, 0o755) != nil && !isDir(group.dir) {
			continue
		}
		if group.usable() && os.WriteFile(cgroupFile(state), fmt.Appendf(nil, "%s\n%d", group.dir, os.Getpid()), 0o600) == nil {
			return group
		}
		_ = os.Remove(group.dir)
	}
	return nil
}

func cgroupName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "mesh-" + hex.EncodeToString(sum[:8])
}

// cgroupFile is where the group of a copy of a workspace is written down: the
// next mesh may run in another group than this one.
func cgroupFile(state string) string { return filepath.Join(state, "run", "cgroup") }

// leftCgroup is the group that an earlier mesh with this state folder used, and
// the pid of its daemon; nil: none, or what is written down is not one of ours.
func leftCgroup(state string) (group *cgroup, daemon int) {
	data, err := os.ReadFile(cgroupFile(state))
	dir, pid, _ := strings.Cut(string(data), "\n")
	if err != nil || filepath.Base(dir) != cgroupName(state) || !isDir(dir) {
		return nil, 0
	}
	daemon, _ = strconv.Atoi(pid) // 0 is nobody's
	group = &cgroup{dir: dir}
	if exists(filepath.Join(group.dir, "freezer.state")) {
		group.home = filepath.Join(filepath.Dir(group.dir), "tasks")
	}
	return group, daemon
}

// cgroupOf is the group that the daemon with this pid opened; nil: none. A daemon
// that found another one running opened none, and that one's is not ours to end.
func cgroupOf(state string, daemon int) *cgroup {
	group, of := leftCgroup(state)
	if of != daemon {
		return nil
	}
	return group
}

// ownCgroups are the groups that this process is in and that can hold others:
// of version 2 first, then the freezer of version 1.
func ownCgroups() []*cgroup {
	membership, _ := os.ReadFile("/proc/self/cgroup")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	var v2, v1 []*cgroup
	for line := range strings.Lines(string(mounts)) {
		where, kind := mountOf(line)
		for entry := range strings.Lines(string(membership)) {
			id, rest, _ := strings.Cut(strings.TrimSpace(entry), ":")
			controllers, path, _ := strings.Cut(rest, ":")
			dir := filepath.Join(where, path)
			switch {
			case kind == "cgroup2" && id == "0":
				v2 = append(v2, &cgroup{dir: dir})
			case kind == "cgroup" && controllers == "freezer" && exists(filepath.Join(dir, "tasks")) && filepath.Base(where) == "freezer":
				v1 = append(v1, &cgroup{dir: dir, home: filepath.Join(dir, "tasks")})
			}
		}
	}
	return append(v2, v1...)
}

// mountOf reads the mount point and the type from a line of mountinfo (proc(5)).
func mountOf(line string) (where, kind string) {
	before, after, _ := strings.Cut(line, " - ")
	fields, kinds := strings.Fields(before), strings.Fields(after)
	if len(fields) < 5 || len(kinds) == 0 {
		return "", ""
	}
	return fields[4], kinds[0]
}

// usable reports whether processes can be put into the group and be killed there.
func (c *cgroup) usable() bool {
	if c.home == "" {
		return writable(filepath.Join(c.dir, "cgroup.kill")) && writable(filepath.Join(filepath.Dir(c.dir), "cgroup.procs"))
	}
	return writable(filepath.Join(c.dir, "freezer.state")) && writable(c.home)
}

func (c *cgroup) String() string {
	if c.home == "" {
		return "cgroup v2"
	}
	return "cgroup v1 freezer"
}

// child makes a group inside this one.
func (c *cgroup) child(name string) (*cgroup, error) {
	child := &cgroup{dir: filepath.Join(c.dir, name), home: c.home}
	if err := os.Mkdir(child.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return child, nil
}

// start calls fork so that what it starts is in the group. The calling thread must be
// locked. broken is an error after which the thread is in the group itself, where it
// would be frozen.
func (c *cgroup) start(sys *syscall.SysProcAttr, fork func() error) (err, broken error) {
	switch {
	case c == nil:
		return fork(), nil
	case c.home == "":
		dir, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: c.dir, Err: err}, nil
		}
		defer unix.Close(dir)
		sys.UseCgroupFD, sys.CgroupFD = true, dir
		return fork(), nil
	}
	// "0" is the thread that writes (kernel, admin-guide/cgroup-v1), and of one
	// thread the move is cheap.
	if err := enter(filepath.Join(c.dir, "tasks")); err != nil {
		return err, nil
	}
	err = fork()
	return err, enter(c.home)
}

// enter moves the calling thread into the group of a file of tasks, by system calls
// alone, as [ownFiles] asks.
func enter(tasks string) error {
	fd, err := unix.Open(tasks, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte("0"))
		unix.Close(fd)
	}
	if err != nil {
		return &os.PathError{Op: "write", Path: tasks, Err: err}
	}
	return nil
}

// kill ends every process in the group and in those inside it, and returns when
// none is left. It returns how many there were.
func (c *cgroup) kill() (n int) {
	if c == nil {
		return 0
	}
	for _, child := range c.children() {
		n += child.kill()
	}
	pids := c.processes()
	n += len(pids)
	for ; len(pids) > 0; pids = c.processes() {
		if c.home == "" {
			_ = write(filepath.Join(c.dir, "cgroup.kill"), "1") // looked at again
		} else {
			c.killFrozen()
		}
		time.Sleep(time.Millisecond) // a killed process takes a moment to go
	}
	return n
}

// killFrozen kills what can neither fork nor end meanwhile.
func (c *cgroup) killFrozen() {
	state := filepath.Join(c.dir, "freezer.state")
	_ = write(state, "FROZEN")
	for range 100 { // one that waits for a disk freezes late: the next round gets it
		if now, err := os.ReadFile(state); err != nil || strings.TrimSpace(string(now)) == "FROZEN" {
			break
		}
		time.Sleep(time.Millisecond)
	}
	killEach(c.processes())
	_ = write(state, "THAWED")
}

// remove gives the group up, with those inside it; one that still holds a
// process stays.
func (c *cgroup) remove() {
	if c == nil {
		return
	}
	for _, child := range c.children() {
		child.remove()
	}
	// A process that is not listed any more may hold its group a moment longer.
	for range 50 {
		if err := os.Remove(c.dir); !errors.Is(err, syscall.EBUSY) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// gone reports that there was a group, and that it held nothing when it was removed.
func (c *cgroup) gone() bool { return c != nil && !exists(c.dir) }

func (c *cgroup) children() []*cgroup {
	entries, _ := os.ReadDir(c.dir)
	var children []*cgroup
	for _, e := range entries {
		if e.IsDir() {
			children = append(children, &cgroup{dir: filepath.Join(c.dir, e.Name()), home: c.home})
		}
	}
	return children
}

// processes are the living ones: the kernel does not list zombies here.
func (c *cgroup) processes() []int {
	data, _ := os.ReadFile(filepath.Join(c.dir, "cgroup.procs"))
	var pids []int
	for _, word := range strings.Fields(string(data)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0) }

func writable(path string) bool {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
