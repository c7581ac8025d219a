package process

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// How often killAdopted looks at what is left: until so many looks in a row
// found nothing, and never more than so many in all.
const (
	cleanLooks = 4
	mostLooks  = 500
)

// killTree kills all that an instance has started: what is in its cgroup, or,
// where there is none, its process group, its descendants and those of its that
// we have adopted.
func (p *Process) killTree() {
	if p.held.cgroup != nil {
		p.held.cgroup.kill()
		return
	}
	tree := Descendants(p.PID())
	p.signalGroup(syscall.SIGKILL)
	killEach(tree)
	p.driver.holder.killAdopted(p.marker)
}

// killAdopted kills what an instance left behind and we have adopted, until
// nothing is found.
func (h *holder) killAdopted(marker string) {
	// The list of children may leave one out while another ends (proc(5)), so
	// one empty look proves nothing.
	for clean, looks := 0, 0; clean < cleanLooks && looks < mostLooks; looks++ {
		left, undecided := h.adopted(marker)
		if clean++; len(left) > 0 || undecided {
			clean = 0
		}
		for _, pid := range left {
			killEach(append(Descendants(pid), pid))
		}
		h.reapAdopted()
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
func (h *holder) adopted(marker string) (found []int, undecided bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pid := range childrenOf(os.Getpid()) {
		if h.owned[pid] != nil {
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
