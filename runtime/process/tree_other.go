//go:build !linux

package process

import (
	"context"
	"os"
	"syscall"
)

type holder struct{}

type held struct{}

func newHolder(string) holder { return holder{} }

func (holder) await() error { return nil }

func (holder) start(p *Process, streams [2]*os.File) error {
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = streams[0], streams[1], newGroup()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	return nil
}

// Run waits for ctx: there is nothing to adopt on this system.
func (d *Driver) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// finish waits for the process, and then kills what is left of its group.
func (p *Process) finish() (status syscall.WaitStatus, err error) {
	state, err := p.cmd.Process.Wait()
	close(p.exited)
	p.killTree()
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

// Guard runs argv as a child and returns its exit code. On this system nothing
// finds what a child of mesh leaves outside its process group.
func Guard(ctx context.Context, argv []string, files []*os.File, _ string) (int, error) {
	_, code, err := guarded(ctx, argv, files, nil, os.Interrupt)
	return code, err
}

// Prepare has nothing to prepare on this system.
func Prepare() {}

// Sweep finds nothing on this system.
func Sweep(string) {}

// Means names how processes are held, for people.
func (d *Driver) Means() string { return Means("") }

// Means names how this machine permits processes to be held, for people.
func Means(string) string { return "process groups" }

// Descendants are not known on this system.
func Descendants(int) []int { return nil }
