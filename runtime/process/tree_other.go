//go:build !linux

package process

import (
	"context"
	"os"
	"syscall"
)

// holder notes the groups that run.
type holder struct {
	groups
	clean, ready chan struct{} // one channel, closed when Run has killed what an earlier run left
}

type held struct{}

func newHolder(state string) holder {
	clean := make(chan struct{})
	return holder{groupsOf(state), clean, clean}
}

func (holder) await(step <-chan struct{}) error {
	<-step
	return nil
}

func (h holder) start(p *Process, streams [2]*os.File) error {
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = streams[0], streams[1], newGroup()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	h.add(p.pid)
	return nil
}

// Run kills the process groups that an earlier run with this state folder left behind,
// and waits for ctx: there is nothing to adopt on this system. It must be called once.
func (d *Driver) Run(ctx context.Context) error {
	d.holder.kill()
	close(d.holder.clean)
	<-ctx.Done()
	return nil
}

// finish waits for the process, and then kills what is left of its group.
func (p *Process) finish() (status syscall.WaitStatus, err error) {
	state, err := p.cmd.Process.Wait()
	close(p.exited)
	p.killTree()
	p.driver.holder.remove(p.pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	if err == nil {
		status = state.Sys().(syscall.WaitStatus) // documented as such (os.ProcessState)
	}
	return status, err
}

// killTree kills the process's group.
func (p *Process) killTree() { p.signalGroup(syscall.SIGKILL) }

// KillLeft kills the process groups that a daemon with this state folder left behind,
// to its guard. On this system nothing finds what has left its group.
func KillLeft(_ int, state string) { groupsOf(state).kill() }

// Sweep kills the process groups that an earlier mesh with this state folder left
// behind, which happens only when the daemon and its guard died at once. It returns
// how many there were.
func Sweep(state string) int { return groupsOf(state).kill() }

// Means names how processes are held, for people.
func (d *Driver) Means() string { return Means("") }

// Means names how this machine permits processes to be held, for people.
func Means(string) string { return "process groups, swept when mesh starts" }

// Descendants are not known on this system.
func Descendants(int) []int { return nil }
