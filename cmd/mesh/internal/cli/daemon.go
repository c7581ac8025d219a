package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/guardian"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/process"
	"github.com/ebef7166/mesh/workspace"
)

// daemonOptions is what a client tells the daemon that it starts.
type daemonOptions struct {
	Dir      string `json:"dir"`
	State    string `json:"state"`
	Gateway  string `json:"gateway"`
	Wanted   wanted `json:"wanted"`
	Run      string `json:"run"` // identifies the daemon, to its guard and to the container engine
	Watch    bool   `json:"watch"`
	Outside  bool   `json:"outside"`
	Isolated bool   `json:"isolated"`
}

// started is what the daemon says on guardian.Ready.
type started struct {
	Error   string  `json:"error"` // "" when it runs
	Next    string  `json:"next"`
	Code    int     `json:"code"`
	Running bool    `json:"running"` // another daemon has this workspace
	Remarks remarks `json:"remarks"`
}

// will is what a daemon asks of its guard, before it runs anything.
type will struct{ run, state string }

// bytes are not JSON, in which a path may be six times as long and not the same.
func (w will) bytes() []byte { return []byte(w.run + "\x00" + w.state) }

func readWill(text []byte) (w will) {
	w.run, w.state, _ = strings.Cut(string(text), "\x00")
	return w
}

// watchOver is `mesh __guard ARGV…`: what a guard does when the daemon that it has run
// has ended. See guardian for the rest.
func watchOver(ctx context.Context, daemon *guardian.Child) error {
	switch {
	case daemon.PID == 0:
		err := fmt.Errorf("start the daemon: %w", daemon.Err)
		tell(daemon.Ready, startError(err))
		return err
	case len(daemon.Will) == 0: // it has run nothing
		return daemonError(daemon)
	}
	return execute(ctx, daemon)
}

// daemonError says that a daemon did not end in order; nil: it did.
func daemonError(daemon *guardian.Child) error {
	if daemon.Err == nil && daemon.Code != 0 {
		return &failure{err: errors.New("the daemon failed"), code: daemon.Code}
	}
	return daemon.Err
}

// execute does what a daemon that has ended asked for.
func execute(ctx context.Context, daemon *guardian.Child) error {
	w := readWill(daemon.Will)
	process.KillLeft(daemon.PID, w.state)
	err := workspace.SweepRun(context.WithoutCancel(ctx), w.state, w.run)
	if err == nil {
		err = daemonError(daemon)
	}
	intoLog(w.state, err)
	return err
}

// intoLog adds an error to the daemon's log, for what has no terminal.
func intoLog(state string, failed error) {
	log, err := workspace.OpenLog(state)
	if err != nil {
		return // there is none before the first start
	}
	defer log.Close()
	report(log, failed)
}

// serveTold is `mesh __daemon`: it runs the workspace that its lifeline tells it of.
func serveTold(ctx context.Context) error {
	lifeline, ready, guard := guardian.Inherited()
	var o daemonOptions
	told := json.NewDecoder(lifeline)
	err := told.Decode(&o)
	if errors.Is(err, io.EOF) {
		return nil // nobody has a use for it
	}
	if err == nil {
		err = ctx.Err() // the guard has died meanwhile
	}
	if err == nil {
		err = o.settleIn(guard)
	}
	if err != nil {
		tell(ready, startError(err))
		return err
	}
	return runDaemon(ctx, o, io.MultiReader(told.Buffered(), lifeline), ready)
}

// settleIn has a daemon leave its will to its guard, before there is anything to look
// after, and go where the workspace is.
func (o daemonOptions) settleIn(guard io.WriteCloser) error {
	_, err := guard.Write(will{o.Run, o.State}.bytes())
	return errors.Join(err, guard.Close(), os.Chdir(o.Dir))
}

func runDaemon(ctx context.Context, o daemonOptions, lifeline io.Reader, ready io.WriteCloser) error {
	guard := os.Getppid()
	// A second signal, or losing the client twice, is not waited for.
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	again := make(chan os.Signal, 2)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	go killOnSecond(ctx, again, func() {
		if os.Getppid() == guard { // else it is the guard's death that signals, more than once at times
			kill()
		}
	})

	said := make(chan byte, 1)
	go func() { said <- hear(lifeline) }()
	usualGC := debug.SetGCPercent(startGC)
	d, err := openDaemon(ctx, o)
	if err != nil {
		tell(ready, startError(err))
		return err
	}
	died := func(who string) {
		d.workspace.Warn(fmt.Sprintf("%s has died: everything is stopped, and killed after %v", who, deathGrace))
		stop()
		time.AfterFunc(deathGrace, kill)
	}
	follow(said, stop, func() { died("the command that started mesh") })
	context.AfterFunc(ctx, func() {
		if orphaned(guard) {
			died("the guard")
		}
	})
	group, serving := errgroup.WithContext(hard)
	serving, done := context.WithCancel(serving)
	group.Go(func() error {
		if ctx.Err() != nil { // nobody joins what is over before it has begun
			return d.listener.Close()
		}
		return control.Serve(serving, d.listener, control.Of(d.workspace, d.socket, buildVersion(), stop, kill))
	})
	group.Go(func() error {
		err := d.workspace.Begun()
		if err != nil {
			tell(ready, startError(err))
		} else {
			tell(ready, started{Remarks: d.remarks})
		}
		return nil
	})
	group.Go(func() error { settle(serving, usualGC); return nil })
	group.Go(func() error {
		untilGone(serving, d.socket)
		stop()
		return nil
	})
	group.Go(func() error {
		defer done() // the API answers until everything has stopped
		return d.workspace.Run(ctx, hard)
	})
	err = group.Wait()
	report(d.log, err)
	return err
}

// A start keeps most of what it allocates: collecting it early takes processor
// time from the services that start, and frees little.
const (
	startGC   = 400 // percent (runtime/debug, SetGCPercent)
	startTime = 3 * time.Second
)

// settle gives back what the start took, once it is over, or ctx ends.
func settle(ctx context.Context, usualGC int) {
	select {
	case <-ctx.Done():
	case <-time.After(startTime):
		debug.SetGCPercent(usualGC)
		debug.FreeOSMemory()
	}
}

// killOnSecond ends the patience at a signal that comes while the first is being
// carried out.
func killOnSecond(ctx context.Context, signals <-chan os.Signal, kill func()) {
	<-ctx.Done()
	<-signals // the first one
	<-signals
	kill()
}

// daemon is what runs once everything listens.
type daemon struct {
	workspace *workspace.Workspace
	listener  net.Listener
	socket    string
	remarks   remarks
	log       *os.File // what mesh itself has to say, and how it died
}

func openDaemon(ctx context.Context, o daemonOptions) (*daemon, error) {
	d := &daemon{}
	read := func() (*manifest.Workspace, manifest.Selection, error) { return d.read(o) }
	if _, err := os.Stat(o.State); errors.Is(err, os.ErrNotExist) {
		// A folder is made for what can be run alone.
		m, selection, err := read()
		if err != nil {
			return nil, err
		}
		read = func() (*manifest.Workspace, manifest.Selection, error) { return m, selection, nil }
	}
	state, err := workspace.OpenState(o.State)
	if err != nil {
		return nil, err
	}
	if err := state.Lock(); err != nil {
		return nil, err
	}
	// The log of a daemon that runs is not touched by one that finds it running.
	if d.log, err = freshLog(o.State); err != nil {
		return nil, err
	}
	if d.listener, err = control.Listen(ctx, state.Socket()); err != nil {
		return nil, err
	}
	d.socket = filepath.Clean(state.Socket())
	if err := d.open(ctx, o, state, read); err != nil {
		return nil, errors.Join(err, d.listener.Close())
	}
	return d, nil
}

// freshLog opens the daemon's log without what the daemon before had to say, and has
// the runtime write to it when this one crashes.
func freshLog(state string) (*os.File, error) {
	log, err := workspace.OpenLog(state)
	if err != nil {
		return nil, err
	}
	return log, errors.Join(log.Truncate(0), debug.SetCrashOutput(log, debug.CrashOptions{}))
}

func (d *daemon) open(ctx context.Context, o daemonOptions, state *workspace.State, read func() (*manifest.Workspace, manifest.Selection, error)) (err error) {
	d.workspace, err = workspace.Open(ctx, workspace.Options{State: state, Gateway: o.Gateway, Watch: o.Watch, Outside: o.Outside,
		Driver: o.Wanted.Driver, Run: o.Run, Isolated: o.Isolated, Generate: generateSaved,
		Read: read, Logger: slog.New(slog.NewTextHandler(d.log, nil))})
	if err != nil {
		return err
	}
	d.remarks.Warnings = append(d.remarks.Warnings, d.workspace.Moves()...)
	return nil
}

// read reads the manifests, which the client leaves to the daemon: of a thousand
// services that takes a while.
func (d *daemon) read(o daemonOptions) (*manifest.Workspace, manifest.Selection, error) {
	m, err := place{dir: o.Dir}.load()
	if err != nil {
		return nil, manifest.Selection{}, err
	}
	selection, err := o.Wanted.of(m)
	if err != nil {
		return nil, manifest.Selection{}, err
	}
	d.remarks = o.Wanted.remarks(m)
	return m, selection, nil
}

// untilGone returns when the socket is not there any more, since nobody can reach
// the daemon then, or when ctx ends.
func untilGone(ctx context.Context, socket string) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			if _, err := os.Lstat(socket); errors.Is(err, os.ErrNotExist) {
				slog.Error("the state folder is gone: everything is stopped", "socket", socket)
				return
			}
		}
	}
}

// tell reports to the client how the start went.
func tell(ready io.WriteCloser, s started) {
	defer ready.Close()
	_ = json.NewEncoder(ready).Encode(s) // a client that left will not miss it
}

func startError(err error) started {
	f := asFailure(startFailure(err))
	return started{Error: f.Error(), Next: f.next, Code: f.code, Running: runsAlready(err)}
}

// startFailure finds the next step for what keeps a workspace from starting.
func startFailure(err error) error {
	var busy *workspace.BusyError
	var full *workspace.DiskFullError
	var unknown *manifest.UnknownService
	switch {
	case errors.As(err, &busy) && busy.Service != "":
		return withNext(err, "stop it, or give "+busy.Service+" another port, for you alone in "+manifest.LocalFile)
	case errors.As(err, &busy):
		return withNext(err, fmt.Sprintf("stop it, or take another address: mesh up --gateway 127.0.0.1:0, or gateway.address in %s", manifest.WorkspaceFile))
	case errors.As(err, &full):
		return withNext(err, "free some space there: du -sh "+full.Dir+"/* shows what mesh itself takes")
	case errors.As(err, &unknown):
		return notFound(err, "")
	case runsAlready(err):
		return withNext(err, "mesh dash shows it; mesh down stops it")
	}
	return err
}

// runsAlready reports that another daemon has this workspace: one that answers,
// or one that is about to.
func runsAlready(err error) bool {
	return errors.Is(err, control.ErrRunning) || errors.Is(err, workspace.ErrLocked)
}

// What a client says on the lifeline.
const (
	saysDetach  = 'd' // the daemon runs on without it
	saysStop    = 's' // everything is stopped in order
	saysNothing = 0   // it has died
)

// hear waits for what the client says.
func hear(lifeline io.Reader) byte {
	said := []byte{saysNothing}
	_, _ = lifeline.Read(said) // at its end there is nothing more to hear
	return said[0]
}

// follow does what the client says: at once what it has said already, and what it
// will say beside what comes next.
func follow(said <-chan byte, stop, died func()) {
	obey := func(word byte) {
		switch word {
		case saysNothing:
			died()
		case saysStop:
			stop()
		}
	}
	select {
	case word := <-said:
		obey(word)
	default:
		go func() { obey(<-said) }()
	}
}

// orphaned reports that the parent has died. It takes a moment to be so: its threads
// die one by one, and the first that does sends the signal.
func orphaned(parent int) bool {
	for range 20 {
		if os.Getppid() != parent {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// deathGrace is how long services may take to stop when a part of mesh has died:
// nothing outlives it by two seconds.
const deathGrace = time.Second
