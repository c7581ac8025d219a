package tui

import (
	"context"
	"errors"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

const (
	frame     = 50 * time.Millisecond // least time between two batches to the model
	usageEach = 2 * time.Second
	callLimit = 5 * time.Second // for an answer; a daemon that hangs is shown as old figures
	orders    = 8               // at once; more are refused, and this is said
	history   = 2000            // lines asked for when a log is opened
)

// feed reads from the daemon and tells the model. Every goroutine is its own;
// wait returns when they all have ended.
type feed struct {
	client *control.Client
	send   func(tea.Msg)
	states slot[runtime.Snapshot]
	wanted slot[source]
	asked  slot[struct{}] // a status is wanted

	streams sync.WaitGroup
	orders  errgroup.Group
}

func newFeed(client *control.Client) *feed {
	f := &feed{client: client, states: newSlot[runtime.Snapshot](), wanted: newSlot[source](), asked: newSlot[struct{}]()}
	f.orders.SetLimit(orders)
	return f
}

func (f *feed) start(ctx context.Context, send func(tea.Msg)) {
	f.send = send
	f.asked.put(struct{}{})
	for _, part := range []func(context.Context){f.watch, f.showStates, f.showStatus, f.showUsage, f.clock, f.follow} {
		f.streams.Go(func() { part(ctx) })
	}
}

func (f *feed) wait() {
	f.streams.Wait()
	_ = f.orders.Wait() // how they went was told by a message
}

// watch keeps the newest state; ones that the model had no time for are skipped.
func (f *feed) watch(ctx context.Context) {
	var last runtime.Snapshot
	err := f.client.Watch(ctx, func(now runtime.Snapshot) bool {
		last = now.Clone() // it goes to another goroutine
		f.states.put(last)
		return false
	})
	if ctx.Err() == nil {
		f.send(endedMsg{err, last})
	}
}

func (f *feed) showStates(ctx context.Context) {
	for now := range f.states.each(ctx) {
		f.send(snapshotMsg{now})
		f.asked.put(struct{}{})
		pause(ctx, frame)
	}
}

// showStatus asks again after each change.
func (f *feed) showStatus(ctx context.Context) {
	for range f.asked.each(ctx) {
		call, cancel := context.WithTimeout(ctx, callLimit)
		status, err := f.client.Status(call)
		cancel()
		if err == nil {
			f.send(statusMsg{status})
		}
		pause(ctx, 5*frame)
	}
}

func (f *feed) showUsage(ctx context.Context) {
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, callLimit)
		now, err := f.client.Snapshot(call)
		cancel()
		if err == nil {
			f.send(usageMsg{now})
		}
		pause(ctx, usageEach)
	}
}

func (f *feed) clock(ctx context.Context) {
	for ctx.Err() == nil {
		f.send(clockMsg{time.Now()})
		pause(ctx, time.Second)
	}
}

// follow has one log open, the one wanted last.
func (f *feed) follow(ctx context.Context) {
	closeLast := func() {}
	for from := range f.wanted.each(ctx) {
		closeLast()
		closeLast = f.open(ctx, from)
	}
	closeLast()
}

// open follows a log until the function that it returns is called.
func (f *feed) open(ctx context.Context, from source) func() {
	ctx, cancel := context.WithCancel(ctx)
	q := logs.Query{Last: history}
	if from.service != "" {
		q.Services = []string{from.service}
	}
	lines := newLineQueue()
	var both sync.WaitGroup
	both.Go(func() {
		err := f.client.Logs(ctx, q, true, func(l logs.Line) error { lines.add(l); return nil })
		if ctx.Err() == nil && !errors.Is(err, control.ErrEnded) && !errors.Is(err, control.ErrNotRunning) {
			f.send(linesMsg{from: from, err: err})
		}
	})
	both.Go(func() {
		for range lines.ready.each(ctx) {
			f.send(linesMsg{from: from, lines: lines.take()})
			pause(ctx, frame)
		}
	})
	return func() { cancel(); both.Wait() }
}

// take begins to carry out an order. It does not wait: what it returns is for
// the model, now, and how the order went comes later.
func (f *feed) take(ctx context.Context, o order) tea.Msg {
	if o, ok := o.(follow); ok {
		f.wanted.put(o.source)
		return nil
	}
	if !f.orders.TryGo(func() error { f.carryOut(ctx, o); return nil }) {
		return doneMsg{what: "this", err: errors.New("not done: too much is under way")}
	}
	return nil
}

func (f *feed) carryOut(ctx context.Context, o order) {
	switch o := o.(type) {
	case steer:
		f.send(doneMsg{o.verb + " " + o.service, f.client.Steer(ctx, o.verb, o.service)})
	case explain:
		e, err := f.client.Explain(ctx, o.service)
		f.send(explainedMsg{o.service, e, err})
	case shutdown:
		if err := f.client.Shutdown(ctx, false); err != nil && !errors.Is(err, control.ErrNotRunning) {
			f.send(doneMsg{"stop the workspace", err})
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
