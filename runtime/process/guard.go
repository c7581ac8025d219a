package process

import (
	"context"
	"os"
	"syscall"
)

// guarded runs argv as a child, with files beside its standard streams, passes
// the end of ctx on to it as a signal, and returns its pid and its exit code: 1
// where it was ended by a signal. The pid is 0 where it could not be started.
func guarded(ctx context.Context, argv []string, files []*os.File, sys *syscall.SysProcAttr, stop os.Signal) (pid, code int, err error) {
	attr := &os.ProcAttr{Env: os.Environ(), Files: append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, files...), Sys: sys}
	child, err := os.StartProcess(argv[0], argv, attr)
	if err != nil {
		return 0, 1, err
	}
	for _, f := range files {
		f.Close() // the child has its own; ours would keep the pipes open
	}
	passed := context.AfterFunc(ctx, func() { _ = child.Signal(stop) }) // it may have ended by now
	defer passed()
	ended, err := child.Wait()
	if err != nil || ended.ExitCode() < 0 {
		return child.Pid, 1, err
	}
	return child.Pid, ended.ExitCode(), nil
}
