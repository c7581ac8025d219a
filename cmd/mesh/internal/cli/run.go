package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

// newRun is `mesh run`.
func newRun(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "run TASK", Short: "Run a task once, and wait until it is done", Args: cobra.ExactArgs(1),
		ValidArgsFunction: d.completeServices,
		RunE:              func(cmd *cobra.Command, args []string) error { return runTask(cmd.Context(), d, args[0]) },
	}
}

func runTask(ctx context.Context, d *deps, task string) error {
	p, m, err := d.workspace()
	if err != nil {
		return err
	}
	s, err := service(m, task)
	if err != nil {
		return err
	}
	if s.Kind != manifest.KindTask {
		return usageError("%s is a %s, not a task: mesh restart %s starts it anew", task, s.Kind, task)
	}
	return runOnce(ctx, d, p.client(), task)
}

// runOnce runs the task and follows its log until it is done.
func runOnce(ctx context.Context, d *deps, client *control.Client, task string) error {
	begun := time.Now().Round(0) // the time of day, which lines have: as an age it would be later by as long as the question takes
	before, err := client.Snapshot(ctx)
	if err != nil {
		return explain(err)
	}
	if err := client.RunTask(ctx, task); err != nil {
		return explain(err)
	}
	printing := d.printTask(ctx, client, task, begun)
	var last runtime.Instance
	gone := false
	err = client.Watch(ctx, func(now runtime.Snapshot) bool {
		for _, i := range now.Of(task) {
			if last = i; i.State.Final() && !slices.ContainsFunc(before.Of(task), i.SameStart) {
				return true
			}
		}
		_, there := now.Service(task)
		gone = !there
		return gone
	})
	if err != nil {
		printing.stop()
		if ctx.Err() != nil {
			d.say(task + " runs on; mesh logs -f " + task + " follows it, mesh stop " + task + " ends it.")
		}
		return explain(err)
	}
	if err := printing.end(ctx); err != nil {
		return explain(err)
	}
	if gone {
		return withNext(fmt.Errorf("%s was taken out of this workspace before it was done", task), "mesh logs "+task+" shows how far it came")
	}
	if !last.Completed() {
		return withNext(fmt.Errorf("%s: %s", task, last.Reason), "mesh why "+task)
	}
	return nil
}

// taskLog prints what a task says while it runs.
type taskLog struct {
	client *control.Client
	query  logs.Query
	stop   context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	lines   int
	printed map[time.Time]int // lines that were said at one moment
}

func (d *deps) printTask(ctx context.Context, client *control.Client, task string, since time.Time) *taskLog {
	following, stop := context.WithCancel(ctx)
	t := &taskLog{client: client, query: logs.Query{Services: []string{task}, Since: since}, stop: stop, ended: make(chan struct{}), printed: map[time.Time]int{}}
	printer := newLinePrinter(d, logOptions{noPrefix: true})
	go func() {
		defer close(t.ended)
		_ = client.Logs(following, t.query, true, func(l logs.Line) error { // end hears of the daemon's end, too
			err := printer.print(l)
			t.mu.Lock()
			defer t.mu.Unlock()
			t.lines++
			t.printed[l.Time.UTC()]++
			return err
		})
	}()
	return t
}

// lastWords is how long the rest of a task's log is waited for while none of it comes.
const lastWords = 2 * time.Second

// end returns when all is printed that the task has said, which has ended.
func (t *taskLog) end(ctx context.Context) error {
	defer func() { t.stop(); <-t.ended }()
	said := map[time.Time]int{}
	err := t.client.Logs(ctx, t.query, false, func(l logs.Line) error { said[l.Time.UTC()]++; return nil })
	if err != nil && !errors.Is(err, control.ErrEnded) {
		return err
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	begun, before := time.Now(), 0
	for {
		lines, all := t.upTo(said)
		if lines != before {
			begun, before = time.Now(), lines
		}
		if all || time.Since(begun) > lastWords { // what was missed was told
			return nil
		}
		select {
		case <-look.C:
		case <-t.ended:
			return nil
		}
	}
}

// upTo counts the lines that were printed, and reports whether those are among them.
func (t *taskLog) upTo(said map[time.Time]int) (lines int, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, n := range said {
		if t.printed[at] < n {
			return t.lines, false
		}
	}
	return t.lines, true
}
