package process

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/shirou/gopsutil/v4/process"
)

// groups notes process groups in a folder, for systems where nothing else holds
// processes together: a file called by the leader's pid, which holds when the leader
// started. Whoever finds it later can tell whether the process is still that one.
type groups string

// groupsOf are those of a copy of a workspace, by its state folder.
func groupsOf(state string) groups { return groups(filepath.Join(state, "run", "groups")) }

// add notes a group whose leader was just started. A note that cannot be written
// costs only that nobody finds the group when mesh and its guard die at once.
func (g groups) add(pid int) {
	started, err := startOf(pid)
	if err != nil {
		return // it has ended already
	}
	_ = os.MkdirAll(string(g), 0o700)
	_ = os.WriteFile(g.file(pid), []byte(started), 0o600)
}

func (g groups) remove(pid int) { _ = os.Remove(g.file(pid)) }

func (g groups) file(pid int) string { return filepath.Join(string(g), strconv.Itoa(pid)) }

// kill kills the groups whose leaders are still there, and forgets all of them. A pid
// that belongs to somebody else by now is left alone. It returns how many it killed.
func (g groups) kill() (n int) {
	entries, _ := os.ReadDir(string(g)) // none: nothing was started
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		noted, _ := os.ReadFile(g.file(pid))
		if started, err := startOf(pid); pid > 1 && err == nil && started == string(noted) {
			killGroup(pid)
			n++
		}
		g.remove(pid)
	}
	return n
}

// startOf is when a process started, in ms since 1970.
func startOf(pid int) (string, error) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return "", err
	}
	created, err := p.CreateTime()
	return strconv.FormatInt(created, 10), err
}
