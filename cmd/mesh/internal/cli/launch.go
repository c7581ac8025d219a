package cli

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/guardian"
	"github.com/ebef7166/mesh/workspace"
)

// daemonProcess is a daemon that this client started: it lives as long as the
// client does, unless detach lets it go.
type daemonProcess struct {
	guard    *os.Process
	lifeline *os.File
	client   *control.Client
	log      string
	ended    error   // how its guard did; nil: in order, or not yet
	remarks  remarks // of the daemon, about the manifests
}

// launch starts a daemon under its guard and returns when it listens, or with
// the reason why it does not.
func launch(o daemonOptions) (*daemonProcess, error) {
	o.Run = rand.Text()
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	started, err := guardian.Start()
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	defer started.Ready.Close()
	_, _ = started.Lifeline.Write(options) // one that has ended says why
	d := &daemonProcess{guard: started.Guard, lifeline: started.Lifeline, client: control.NewClient(workspace.Socket(o.State)), log: workspace.Log(o.State)}
	return d, d.awaitStart(started.Ready)
}

// awaitStart reads how the start went.
func (d *daemonProcess) awaitStart(ready io.Reader) error {
	var s started
	if err := json.NewDecoder(ready).Decode(&s); err != nil {
		d.stop()
		return withNext(errors.New("the daemon ended before it was up"), "look at "+d.log)
	}
	if d.remarks = s.Remarks; s.Error == "" {
		return nil
	}
	d.stop()
	err := errors.New(s.Error)
	if s.Running {
		err = control.ErrRunning
	}
	return &failure{err: err, next: s.Next, code: s.Code}
}

// stop stops everything in order and waits for the end.
func (d *daemonProcess) stop() {
	_, _ = d.lifeline.Write([]byte{saysStop}) // one that has ended needs no word
	d.lifeline.Close()
	ended, err := d.guard.Wait()
	if err == nil && !ended.Success() {
		err = errors.New(ended.String())
	}
	d.ended = err
}

// death says that the daemon did not end in order, if it has ended.
func (d *daemonProcess) death() error {
	if d.ended == nil {
		return nil
	}
	return withNext(errors.New("mesh has died, or its guard has, and what it ran was killed"), "look at "+d.log+"; mesh up starts it again")
}

// detach lets the daemon go on without this client.
func (d *daemonProcess) detach() error {
	if _, err := d.lifeline.Write([]byte{saysDetach}); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return errors.Join(d.lifeline.Close(), d.guard.Release())
}

// interrupt stops everything in order; a signal that comes meanwhile ends the
// patience.
func (d *daemonProcess) interrupt(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	stopped := make(chan struct{})
	go func() { defer close(stopped); d.stop() }()
	select {
	case <-stopped:
	case <-signals:
		// It may just have ended by itself.
		_ = d.client.Shutdown(context.WithoutCancel(ctx), true)
		<-stopped
	}
}
