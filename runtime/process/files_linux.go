package process

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownFiles is the file table of the thread that starts processes, where it has one
// of its own (unshare(2), CLONE_FILES). A fork copies the table of its thread, and
// the exec closes what was copied: with the daemon's, which has some files for each
// instance, the last of a thousand starts would take a millisecond more than the first.
//
// Files come to it over a socket (unix(7), SCM_RIGHTS). A nil *ownFiles stands for a
// thread that shares the daemon's table: many containers do not permit unshare(2).
//
// The thread opens files by system calls alone: package os tells package testing of
// what a test opens, which then writes to a file that the thread has not.
type ownFiles struct {
	in, out int // the socket's ends: in the daemon's table, and in the thread's
}

// newOwnFiles gives the calling thread a table of its own, if that is permitted.
// The thread must be locked, for good, and not be the first one: /proc shows that
// one's table as the process's.
func newOwnFiles() *ownFiles {
	if err := startPoller(); err != nil {
		return nil
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := &ownFiles{in: ends[0], out: ends[1]}
	// As for a fork: who closes what is to be free at once waits until no copy is left.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if unix.Unshare(unix.CLONE_FILES) != nil {
		unix.Close(f.in)
		unix.Close(f.out)
		return nil
	}
	onOtherThread(func() { unix.Close(f.out) })
	f.closeOthers()
	return f
}

// startPoller has the runtime open its poller: this thread may poll, too, and so its
// files must be there before the table is copied.
func startPoller() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	return errors.Join(r.Close(), w.Close())
}

// onOtherThread runs f where the daemon's table is; the caller's thread is locked.
func onOtherThread(f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	<-done
}

// closeOthers leaves the standard streams, the poller's files and the socket. What
// else was copied would stay open when the daemon closes it: ports, pipes.
func (f *ownFiles) closeOthers() {
	var others []int
	self := make([]byte, 64)
	n, err := unix.Readlink("/proc/thread-self", self) // as /proc numbers it, which may be that of another namespace
	if err != nil {
		return // without /proc there are no cgroups either, and nothing to tell files by
	}
	onOtherThread(func() { others = filesIn("/proc/" + string(self[:n]) + "/fd") })
	for _, fd := range others {
		if fd > unix.Stderr && fd != f.out {
			unix.Close(fd)
		}
	}
}

// filesIn are the files of a table, as /proc shows it, but for those of the poller.
func filesIn(table string) (fds []int) {
	entries, _ := os.ReadDir(table)
	for _, e := range entries {
		kind, _ := os.Readlink(filepath.Join(table, e.Name()))
		if fd, err := strconv.Atoi(e.Name()); err == nil && kind != "anon_inode:[eventpoll]" && kind != "anon_inode:[eventfd]" {
			fds = append(fds, fd)
		}
	}
	return fds
}

// give sends files to the thread. It must be called once before each take.
func (f *ownFiles) give(files ...*os.File) error {
	fds := make([]int, len(files))
	for i, file := range files {
		fds[i] = int(file.Fd()) // which has it block, as programs expect
	}
	if f == nil {
		return nil
	}
	return unix.Sendmsg(f.in, []byte{0}, unix.UnixRights(fds...), nil, 0)
}

// take returns the files that were given, as the thread knows them, and what closes
// them there again.
func (f *ownFiles) take(files ...*os.File) (fds []int, closeAll func(), err error) {
	if f == nil {
		for _, file := range files {
			fds = append(fds, int(file.Fd()))
		}
		return fds, func() {}, nil
	}
	rights := make([]byte, unix.CmsgSpace(4*len(files)))
	_, n, _, _, err := unix.Recvmsg(f.out, make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, nil, errors.Join(err, errors.New("the files did not come"))
	}
	if fds, err = unix.ParseUnixRights(&messages[0]); err != nil {
		return nil, nil, err
	}
	return fds, func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}, nil
}

// close ends the socket; the thread's table goes with the thread.
func (f *ownFiles) close() {
	if f != nil {
		onOtherThread(func() { unix.Close(f.in) })
	}
}
