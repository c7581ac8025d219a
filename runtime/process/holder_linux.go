package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	goruntime "runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reapPause is how long adopted children that have ended may wait to be reaped:
// a thousand that end together are looked for a few times, not a thousand times.
const reapPause = 50 * time.Millisecond

// holder starts processes from one thread, which Run locks for good: the signal
// at the parent's death follows the thread (prctl(2), PR_SET_PDEATHSIG), and so
// does membership of a cgroup of version 1.
type holder struct {
	state  string
	shares bool              // the thread has no file table of its own, though it could; for tests
	spawns chan func() error // carried out by Run; an error ends it
	clean  chan struct{}     // closed when Run has killed what an earlier run left
	ready  chan struct{}     // closed when Run has what it starts processes with
	ended  chan struct{}     // closed when Run has ended
	failed error             // why, once it has

	turn  sync.Mutex // held from the giving of files until Run takes what is to be done with them
	files *ownFiles  // once it is ready, as is null
	null  int        // of the thread's table

	mu     sync.Mutex
	owned  map[int]*Process // by pid, not reaped yet
	cgroup *cgroup          // of this copy of the workspace; nil: not permitted here
	last   int              // cgroup of an instance
}

// held is what the holder knows of one process.
type held struct {
	cgroup *cgroup  // of its own; nil: not permitted here
	pidfd  *os.File // readable when the process has ended (pidfd_open(2))
}

func newHolder(state string) holder {
	return holder{state: state, spawns: make(chan func() error), clean: make(chan struct{}), ready: make(chan struct{}), ended: make(chan struct{}), owned: map[int]*Process{}}
}

// Run kills what an earlier run with this state folder left behind. Then it makes this
// process a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER), so that what an instance
// leaves behind becomes our child, and reaps it; and it starts processes. It keeps the
// goroutine's thread, and returns when ctx ends: with the thread, all processes that
// still run are killed. It must be called once.
func (d *Driver) Run(ctx context.Context) error {
	goruntime.LockOSThread()
	if unix.Gettid() == os.Getpid() { // the first thread, which does not end before the process
		defer goruntime.UnlockOSThread()
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		return <-ended
	}
	h := &d.holder
	h.failed = h.run(ctx)
	close(h.ended)
	return h.failed
}

func (h *holder) run(ctx context.Context) error {
	if !takeWord(h.state) {
		Sweep(h.state)
	}
	close(h.clean)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	group := openCgroup(h.state)
	defer onOtherThread(func() {
		if group.remove(); group.gone() {
			giveWord(h.state)
		}
	})
	h.mu.Lock()
	h.cgroup = group
	h.mu.Unlock()
	if !h.shares {
		h.files = newOwnFiles()
		defer h.files.close()
	}
	var err error
	if h.null, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	defer unix.Close(h.null)
	close(h.ready)
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	var reap <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case spawn := <-h.spawns:
			if err := spawn(); err != nil {
				return err
			}
		case <-children:
			if reap == nil {
				reap = time.After(reapPause)
			}
		case <-reap:
			reap = nil
			onOtherThread(h.reapAdopted)
		}
	}
}

// Means names how processes are held, for people, once Run is about to hold them.
func (d *Driver) Means() string {
	_ = d.holder.await(d.holder.ready) // of one that has ended there is something to say, too
	d.holder.mu.Lock()
	defer d.holder.mu.Unlock()
	return d.holder.cgroup.means()
}

// Means names how this machine permits a driver with this state folder to hold
// processes, for people. No such driver may be running.
func Means(state string) string {
	group := openCgroup(state)
	defer group.remove()
	return group.means()
}

func (c *cgroup) means() string {
	if c == nil {
		return "subreaper guard"
	}
	return c.String() + ", subreaper guard"
}

// start starts p on the thread that Run has locked, with these standard streams.
func (h *holder) start(p *Process, streams [2]*os.File) error {
	result := make(chan error, 1)
	spawn := func() error {
		err, broken := h.spawn(p, streams)
		result <- err
		return broken
	}
	if err := h.hand(spawn, streams); err != nil {
		return err
	}
	if err := <-result; err != nil {
		return err
	}
	if pidfd, err := unix.PidfdOpen(p.pid, 0); err == nil && unix.SetNonblock(pidfd, true) == nil {
		p.held.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	return nil
}

// await waits for a step of Run. An error is why it will not come to it.
func (h *holder) await(step <-chan struct{}) error {
	select {
	case <-step:
		return nil
	case <-h.ended:
		return cmp.Or(h.failed, errStopping)
	}
}

// hand has Run carry out spawn, which takes the streams.
func (h *holder) hand(spawn func() error, streams [2]*os.File) error {
	h.turn.Lock()
	defer h.turn.Unlock()
	if err := h.files.give(streams[:]...); err != nil {
		return err
	}
	select {
	case h.spawns <- spawn:
		return nil
	case <-h.ended:
		return errStopping
	}
}

var errStopping = errors.New("mesh is stopping")

// spawn holds the lock so that nobody takes the new process for an adopted one.
// broken is an error after which this thread can start nothing more.
func (h *holder) spawn(p *Process, streams [2]*os.File) (err, broken error) {
	fds, closeAll, err := h.files.take(streams[:]...)
	if err != nil {
		return err, err
	}
	defer closeAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cgroup != nil {
		h.last++
		if p.held.cgroup, err = h.cgroup.child(strconv.Itoa(h.last)); err != nil {
			return err, nil
		}
	}
	attr := &syscall.ProcAttr{Dir: p.cmd.Dir, Env: p.cmd.Environ(), Files: []uintptr{uintptr(h.null), uintptr(fds[0]), uintptr(fds[1])},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}}
	err, broken = p.held.cgroup.start(attr.Sys, func() error {
		p.pid, err = syscall.ForkExec(p.cmd.Path, p.cmd.Args, attr)
		return err
	})
	if err != nil {
		p.held.cgroup.remove()
		return err, broken
	}
	h.owned[p.pid] = p
	return nil, broken
}

// reapAdopted waits for adopted children that have ended. Our own are left to
// their Wait.
func (h *holder) reapAdopted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pid := range childrenOf(os.Getpid()) {
		if h.owned[pid] == nil {
			// 0 or ECHILD: it lives, or is gone already.
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
	}
}

// finish waits for the process and kills what it leaves behind before it is
// reaped: until then its pid and its group are certainly its own.
func (p *Process) finish() (syscall.WaitStatus, error) {
	p.held.awaitExit(p.pid)
	close(p.exited)
	p.killTree()
	p.held.cgroup.remove()
	return p.reap()
}

// awaitExit waits until the process has ended and leaves it to be reaped. No
// thread waits meanwhile, save where the kernel has no pidfd (before 5.3).
func (h held) awaitExit(pid int) {
	if h.pidfd == nil {
		for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		}
		return
	}
	defer h.pidfd.Close()
	conn, err := h.pidfd.SyscallConn()
	if err != nil {
		return // closed, which only this function does
	}
	_ = conn.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		for {
			switch err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil); {
			case err == unix.EINTR:
			case err == unix.EAGAIN:
				return false
			case err != nil:
				return true // not ours to wait for: gone
			default:
				return info.Signo != 0 // 0: it still runs (waitid(2), WNOHANG)
			}
		}
	})
}

// reap takes the exit of the ended process and gives up its pid.
func (p *Process) reap() (status syscall.WaitStatus, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		_, err = syscall.Wait4(p.pid, &status, 0, nil)
	}
	h := &p.driver.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.owned, p.pid)
	return status, err
}
