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
// What a daemon has to wait for in the kernel begins here, too, and so does the daemon
// of a command that will want one: it is initialised beside that command, and then told
// what to run.
package guardian

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The first argument of a guard, and of the daemon that it runs.
const (
	Command = "__guard" // mesh __guard ARGV…
	Daemon  = "__daemon"
)

// The descriptors of a daemon beside its standard streams. A guard has the first two as
// well until the daemon runs.
const (
	Lifeline = 3 + iota // of the command that starts it: what to run, then how that goes on
	Ready               // the daemon's: how the start went
	Will                // the daemon's: what its guard is to do after it
)

// Child is how the program that a guard has run ended.
type Child struct {
	PID   int      // 0: it could not be started
	Code  int      // of its exit; 1 where a signal ended it
	Will  []byte   // what it wrote there, at most maxWill; empty: nothing
	Ready *os.File // of one that could not be started, which says nothing there itself
	Err   error
}

// Ended is how the guarded program of this process ended; nil in a process that is no
// guard.
var Ended *Child

// maxWill is more than a path of a folder and a few words; every pipe holds so much
// without a reader.
const maxWill = 8 << 10

func init() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case Daemon:
		go prepare() // nothing else has a use for a second processor yet
	case Command:
		if len(os.Args) > 2 {
			ended := guard(os.Args[2:])
			Ended = &ended
		}
	case "up":
		if !onlyAsks(os.Args[2:]) {
			early, _ = start() // Start tells the error
		}
	}
}

// onlyAsks reports that a command will run nothing, as far as can be told so early.
func onlyAsks(args []string) bool {
	for _, arg := range args {
		if arg == "--help" || arg == "-h" || arg == "--dry-run" {
			return true
		}
	}
	return false
}

// guard runs argv as a child and passes on to it what asks a guard to end.
//
// What the death of the parent sends to the child follows the thread that has started
// it: that is the main thread here, which an initialisation keeps.
func guard(argv []string) Child {
	// Never stopped: what comes after the child's end is to be carried through.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	lifeline, ready := os.NewFile(Lifeline, "lifeline"), os.NewFile(Ready, "ready")
	if err := adopt(); err != nil {
		return Child{Code: 1, Ready: ready, Err: err}
	}
	child, will, err := run(argv, lifeline, ready)
	if err != nil {
		return Child{Code: 1, Ready: ready, Err: err}
	}
	// Ours would keep the pipes open.
	lifeline.Close()
	ready.Close()
	go func() {
		for range signals {
			_ = child.Signal(stopSignal) // it may have ended by now
		}
	}()
	ended, err := child.Wait()
	left := read(will)
	if err != nil || ended.ExitCode() < 0 {
		return Child{PID: child.Pid, Code: 1, Will: left, Err: err}
	}
	return Child{PID: child.Pid, Code: ended.ExitCode(), Will: left}
}

// run starts the child, with what it inherits and a pipe for its will.
func run(argv []string, lifeline, ready *os.File) (child *os.Process, will *os.File, err error) {
	will, own, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer own.Close()
	child, err = os.StartProcess(argv[0], argv,
		&os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, lifeline, ready, own}, Sys: attributes()})
	if err != nil {
		return nil, nil, errors.Join(err, will.Close())
	}
	return child, will, nil
}

// read is what there is to read of the will of a child that has ended.
func read(will *os.File) []byte {
	defer will.Close()
	text := make([]byte, maxWill)
	n, err := will.Read(text) // in one: it was written in one
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return text[:n]
}
