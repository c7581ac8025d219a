// Package guardian makes a process the parent of mesh's daemon, before the rest of
// the program is initialised: that takes several times as long as all that a parent
// does until its child ends, and 18 MB of resident memory, 3 of them its own, that nobody
// would use for days.
//
// It runs in its own initialisation, and so depends on as little as it can. Packages
// are initialised in the order of their import paths, each as soon as all that it
// imports is (https://go.dev/doc/go1.21#language); main, and what a guard does when
// the daemon has ended, come after all of them. The runtimes of containers begin in
// the same way (runc's libcontainer/nsenter).
//
// What a daemon has to wait for in the kernel begins here, too.
package guardian

import (
	"os"
	"os/signal"
	"syscall"
)

// The first argument of a guard, and of the daemon that it runs.
const (
	Command = "__guard" // mesh __guard STATE ARGV…
	Daemon  = "__daemon"
)

// Child is how the program that a guard has run ended.
type Child struct {
	PID  int // 0: it could not be started
	Code int // of its exit; 1 where a signal ended it
	Err  error
}

// Ended is how the guarded program of this process ended; nil in a process that is no
// guard.
var Ended *Child

// The descriptors that a guard passes on: standard streams, and the two pipes by which
// the daemon and the command that starts it hear of each other.
const inherited = 5

func init() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == Daemon:
		go prepare() // nothing else has a use for a second processor yet
	case len(os.Args) > 3 && os.Args[1] == Command:
		ended := guard(os.Args[3:])
		Ended = &ended
	}
}

// guard runs argv as a child and passes on to it what asks a guard to end.
//
// What the death of the parent sends to the child follows the thread that has started
// it: that is the main thread here, which an initialisation keeps.
func guard(argv []string) Child {
	// Never stopped: what comes after the child's end is to be carried through.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := adopt(); err != nil {
		return Child{Code: 1, Err: err}
	}
	child, err := start(argv)
	if err != nil {
		return Child{Code: 1, Err: err}
	}
	go func() {
		for range signals {
			_ = child.Signal(stopSignal) // it may have ended by now
		}
	}()
	ended, err := child.Wait()
	if err != nil || ended.ExitCode() < 0 {
		return Child{PID: child.Pid, Code: 1, Err: err}
	}
	return Child{PID: child.Pid, Code: ended.ExitCode()}
}

func start(argv []string) (*os.Process, error) {
	files := make([]*os.File, inherited)
	for fd := range files {
		files[fd] = os.NewFile(uintptr(fd), "")
	}
	child, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Files: files, Sys: attributes()})
	for _, f := range files[3:] {
		f.Close() // the child has its own; ours would keep the pipes open
	}
	return child, err
}
