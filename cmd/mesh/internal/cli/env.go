package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

// newEnv is `mesh env`.
func newEnv(d *deps) *cobra.Command {
	var format string
	var reveal bool
	cmd := &cobra.Command{
		Use: "env SERVICE", Short: "Show a service's environment, for a shell or an IDE", Args: cobra.ExactArgs(1),
		ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEnv(cmd.Context(), d, args[0], format, reveal)
		},
	}
	cmd.Flags().StringVar(&format, "format", "shell", "`FORMAT`: shell, dotenv or json")
	completes(cmd, "format", "shell", "dotenv", "json")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show secrets too")
	return cmd
}

func runEnv(ctx context.Context, d *deps, service, format string, reveal bool) error {
	write, ok := map[string]func(io.Writer, map[string]string) error{"shell": writeShell, "dotenv": writeDotenv, "json": writeJSON}[format]
	if !ok {
		return usageError("--format %s: it takes shell, dotenv or json", format)
	}
	client, err := d.client()
	if err != nil {
		return err
	}
	e, err := client.Environment(ctx, service, reveal)
	if err != nil {
		return explain(err)
	}
	if !reveal && len(e.Secrets) > 0 && !d.quiet {
		fmt.Fprintf(d.streams.Err, "Masked: %s; --reveal shows them.\n", strings.Join(e.Secrets, ", "))
	}
	return write(d.streams.Out, e.Values)
}

func writeShell(w io.Writer, values map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := fmt.Fprintf(w, "export %s='%s'\n", name, strings.ReplaceAll(values[name], "'", `'\''`)); err != nil {
			return err
		}
	}
	return nil
}

func writeDotenv(w io.Writer, values map[string]string) error {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "$", `\$`)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := fmt.Fprintf(w, "%s=\"%s\"\n", name, quote.Replace(values[name])); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, values map[string]string) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(values)
}

// newExec is `mesh exec`.
func newExec(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "exec SERVICE -- COMMAND [ARG...]", Short: "Run a command in a service's container, or in its folder with its environment",
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExec(cmd.Context(), d, args[0], args[1:])
		},
	}
}

func runExec(ctx context.Context, d *deps, name string, argv []string) error {
	p, m, err := d.workspace()
	if err != nil {
		return err
	}
	s, err := service(m, name)
	if err != nil {
		return err
	}
	now, err := p.client().Snapshot(ctx)
	if err != nil {
		return explain(err)
	}
	if in := inContainer(now.Of(name)); in != nil {
		return execInside(ctx, d, *in, argv)
	}
	e, err := p.client().Environment(ctx, name, true)
	if err != nil {
		return explain(err)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Dir, d.streams.In, d.streams.Out, d.streams.Err
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		cmd.Env = append(cmd.Env, name+"="+e.Values[name])
	}
	// Interrupted, it gets the chance to end in its own way.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, 10*time.Second
	return exitCodeOf(ctx, cmd.Run(), argv[0])
}

// exitCodeOf passes on the exit code of a command that was run for the user.
func exitCodeOf(ctx context.Context, err error, program string) error {
	var exit *exec.ExitError
	var ended syscall.WaitStatus
	ran := errors.As(err, &exit)
	if ran {
		ended, _ = exit.Sys().(syscall.WaitStatus)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case ran && exit.ExitCode() >= 0:
		return silent(exit.ExitCode())
	case ended.Signaled(): // as shells tell it
		return silent(128 + int(ended.Signal()))
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return &failure{err: fmt.Errorf("%s: no such program", filepath.Base(program)), code: 127}
	}
	return err
}

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
	err = client.Watch(ctx, func(now runtime.Snapshot) bool {
		for _, i := range now.Of(task) {
			if last = i; i.State.Final() && !slices.ContainsFunc(before.Of(task), i.SameStart) {
				return true
			}
		}
		return false
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
