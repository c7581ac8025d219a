package guardian

import (
	"errors"
	"os"
)

// Started is a guard whose daemon waits to be told what to run, and ends when nobody
// does.
type Started struct {
	Guard    *os.Process
	Lifeline *os.File // ours, to write to
	Ready    *os.File // ours, to read from
}

// early is the one of this process's initialisation that nobody has taken; nil: none.
var early *Started

// Start returns the guard that this process's initialisation has started, or starts one.
func Start() (*Started, error) {
	if s := early; s != nil {
		early = nil
		return s, nil
	}
	return start()
}

// Dismiss ends one that nobody has had a use for. Its daemon, which runs nothing, ends
// by itself.
func Dismiss() {
	if s := early; s != nil {
		early = nil
		s.Lifeline.Close()
		s.Ready.Close()
		_ = s.Guard.Kill() // at once: what it is still initialising is for nothing
		_, _ = s.Guard.Wait()
	}
}

// Inherited is what a daemon has from its guard. None of it is for what the daemon runs.
func Inherited() (lifeline, ready, will *os.File) {
	keepToOurselves()
	return os.NewFile(Lifeline, "lifeline"), os.NewFile(Ready, "ready"), os.NewFile(Will, "will")
}

func start() (_ *Started, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	lifeline, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer lifeline.Close()
	hear, ready, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, tell.Close())
	}
	defer ready.Close()
	keepToOurselves()
	guard, err := os.StartProcess(self, []string{self, Command, self, Daemon},
		&os.ProcAttr{Dir: anywhere, Files: []*os.File{null, null, null, lifeline, ready}, Sys: ownSession()})
	if err != nil {
		return nil, errors.Join(err, tell.Close(), hear.Close())
	}
	return &Started{Guard: guard, Lifeline: tell, Ready: hear}, nil
}
