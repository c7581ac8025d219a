package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/escape"
	"github.com/ebef7166/mesh/internal/keypair"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/container"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/smoke"
	"github.com/ebef7166/mesh/workspace"
)

// smokeOptions are the flags of smoke.
type smokeOptions struct {
	names     []string
	command   []string
	junit     string
	artifacts string
	timeout   time.Duration
	keep      bool
}

// newSmoke is `mesh smoke`.
func newSmoke(d *deps) *cobra.Command {
	o := &smokeOptions{}
	cmd := &cobra.Command{
		Use:   "smoke [SERVICE...] [-- COMMAND...]",
		Short: "Run the workspace, check it from outside, and stop it: for CI",
		Long: `Run a copy of the workspace on free ports and with data of its own, wait until all is healthy, do the
checks of smoke/*.yaml, and stop. With a COMMAND, run that instead of the checks: it is told GATEWAY_URL,
OIDC_ISSUER, NATS_URL and a <SERVICE>_URL of each service, and mesh inside it reaches this copy.`,
		ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			if i := cmd.ArgsLenAtDash(); i >= 0 {
				if o.names, o.command = args[:i], args[i:]; len(o.command) == 0 {
					return usageError("a command belongs behind --")
				}
			}
			return runSmoke(cmd.Context(), d, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.junit, "junit", "", "write the results to `FILE` as JUnit XML")
	f.StringVar(&o.artifacts, "artifacts", "", "keep logs and state in `DIR` when something fails")
	f.DurationVar(&o.timeout, "timeout", 120*time.Second, "how long services may take to become healthy, after the build")
	f.BoolVar(&o.keep, "keep", false, "leave it running after a failure")
	return cmd
}

func runSmoke(ctx context.Context, d *deps, o *smokeOptions) (err error) {
	p, m, err := d.workspace()
	if err != nil {
		return err
	}
	if err := o.findProgram(d); err != nil {
		return err
	}
	up := &upOptions{names: o.names, gateway: "127.0.0.1:0"}
	if err := up.settle(); err != nil {
		return err
	}
	if _, err := up.wanted().of(m); err != nil {
		return err
	}
	checks, err := o.checks(m)
	if err != nil {
		return err
	}
	run := &smokeRun{deps: d, smokeOptions: o, place: p, manifest: m, checks: checks}
	if run.state, err = smokeState(p); err != nil {
		return err
	}
	run.daemon, err = launch(daemonOptions{Dir: p.dir, State: run.state, Gateway: "127.0.0.1:0", Wanted: up.wanted(), Outside: true, Isolated: true})
	if err != nil {
		return errors.Join(err, os.RemoveAll(run.state))
	}
	err = run.do(ctx)
	return errors.Join(err, run.end(ctx, err))
}

// findProgram finds out whether there is such a command before anything is started
// for it.
func (o *smokeOptions) findProgram(d *deps) error {
	if len(o.command) == 0 {
		return nil
	}
	name := o.command[0]
	if filepath.Base(name) != name { // seen from where it will run
		abs, err := filepath.Abs(resolve(d, name))
		if err != nil {
			return err
		}
		name = abs
	}
	if _, err := exec.LookPath(name); err != nil {
		return usageError("%s: no such program", o.command[0])
	}
	return nil
}

// checks reads what is to be checked before anything is started.
func (o *smokeOptions) checks(m *manifest.Workspace) ([]smoke.Check, error) {
	if len(o.command) > 0 {
		return nil, nil
	}
	return readChecks(m)
}

// readChecks reads the checks that a workspace has.
func readChecks(m *manifest.Workspace) ([]smoke.Check, error) {
	files, err := smoke.Find(m)
	if err != nil {
		return nil, err
	}
	checks, err := smoke.Load(m.Dir, files)
	var problems manifest.Problems
	if errors.As(err, &problems) {
		return nil, &failure{err: fmt.Errorf("the smoke checks are not valid:\n%w", problems), code: exitUsage}
	}
	return checks, err
}

// smokeState makes a state folder of its own, so that a workspace that runs
// meanwhile is not touched.
func smokeState(p place) (string, error) {
	if err := os.MkdirAll(filepath.Dir(filepath.Join(p.dir, ".mesh", "x")), 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Join(p.dir, ".mesh"), "smoke-*")
}

// smokeRun is one run.
type smokeRun struct {
	*deps
	*smokeOptions
	place    place
	manifest *manifest.Workspace
	state    string
	checks   []smoke.Check
	daemon   *daemonProcess
}

func (r *smokeRun) do(ctx context.Context) error {
	results := []smoke.Result{}
	begun := time.Now()
	err := waitFor(ctx, r.deps, r.daemon.client, nil, r.timeout)
	healthy := smoke.Result{Check: "services", Step: "all healthy", Attempts: 1, Duration: time.Since(begun)}
	if err != nil {
		healthy.Failure = err.Error()
	}
	results = append(results, healthy)
	switch {
	case err != nil:
		r.showLogs(ctx)
	case len(r.command) > 0:
		err = r.runCommand(ctx, &results)
	default:
		err = r.runChecks(ctx, &results)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, r.writeJUnit(results), r.collect(err))
}

func (r *smokeRun) runChecks(ctx context.Context, results *[]smoke.Result) error {
	status, err := r.daemon.client.Status(ctx)
	if err != nil {
		return err
	}
	if len(r.checks) == 0 {
		r.say("There are no checks in smoke/: only the services' health was checked.")
	}
	trust, err := r.trust(status.Gateway.URL)
	if err != nil {
		return err
	}
	target := smoke.Target{Gateway: status.Gateway.URL, TLS: trust, Token: func(ctx context.Context, user string) (string, error) {
		return r.daemon.client.Token(ctx, control.TokenRequest{User: user})
	}}
	failed := 0
	more := smoke.Run(ctx, r.checks, target, func(result smoke.Result) {
		r.tell(result)
		if result.Failure != "" {
			failed++
		}
	})
	*results = append(*results, more...)
	if failed > 0 && ctx.Err() == nil {
		r.showLogs(ctx)
		return fmt.Errorf("%d of %d checks failed", failed, len(r.checks))
	}
	return nil
}

// trust is how the checks trust the gateway's certificate; nil: it has none.
func (r *smokeRun) trust(gateway string) (*tls.Config, error) {
	pair, ok := r.manifest.KeyPair()
	if !ok {
		return nil, nil
	}
	u, err := url.Parse(gateway)
	if err != nil {
		return nil, err
	}
	return keypair.Trusting(pair.Cert, u.Hostname())
}

func (r *smokeRun) tell(result smoke.Result) {
	switch {
	case result.Failure != "":
		fmt.Fprintf(r.streams.Out, "FAIL  %s / %s (%d tries)\n      %s\n", result.Check, result.Step, result.Attempts, escape.Terminal(result.Failure))
	case result.Skipped:
		fmt.Fprintf(r.streams.Out, "skip  %s / %s\n", result.Check, result.Step)
	case !r.quiet:
		fmt.Fprintf(r.streams.Out, "ok    %s / %s (%v)\n", result.Check, result.Step, result.Duration.Round(time.Millisecond))
	}
}

func (r *smokeRun) runCommand(ctx context.Context, results *[]smoke.Result) error {
	env, err := r.daemon.client.OutsideEnv(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = r.dir, r.streams.In, r.streams.Out, r.streams.Err
	cmd.Env = append(os.Environ(), "MESH_STATE="+r.state)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, 10*time.Second
	begun := time.Now()
	err = cmd.Run()
	result := smoke.Result{Check: "command", Step: r.command[0], Attempts: 1, Duration: time.Since(begun)}
	if err != nil {
		err = fmt.Errorf("the command failed: %s: %w", strings.Join(r.command, " "), err)
		result.Failure = err.Error()
		r.showLogs(ctx)
	}
	*results = append(*results, result)
	return err
}

// showLogs prints the last lines of what is not healthy, or of everything when
// all is.
func (r *smokeRun) showLogs(ctx context.Context) {
	now, err := r.daemon.client.Snapshot(ctx)
	if err != nil {
		return // there is nothing to show
	}
	var troubled []string
	for _, s := range now.Services {
		if !runtime.Reached(s, now.Of(s.Name), manifest.Healthy) {
			troubled = append(troubled, s.Name)
			r.showWhy(ctx, s.Name)
		}
	}
	fmt.Fprintln(r.streams.Err, "Last log lines:")
	printer := newLinePrinter(&deps{streams: Streams{Out: r.streams.Err, Err: r.streams.Err}}, logOptions{})
	_ = r.daemon.client.Logs(ctx, logs.Query{Services: troubled, Last: 50}, false, printer.print) // ends with the stream
}

func (r *smokeRun) showWhy(ctx context.Context, service string) {
	if e, err := r.daemon.client.Explain(ctx, service); err == nil {
		e.LastLog = nil
		printExplanation(r.streams.Err, e)
	}
}

func (r *smokeRun) writeJUnit(results []smoke.Result) error {
	if r.junit == "" {
		return nil
	}
	f, err := os.Create(resolve(r.deps, r.junit))
	if err != nil {
		return fmt.Errorf("--junit: %w", err)
	}
	return errors.Join(smoke.WriteJUnit(f, filepath.Base(r.place.dir), results), f.Close())
}

// collect keeps the logs of a run that failed.
func (r *smokeRun) collect(failed error) error {
	if r.artifacts == "" || failed == nil {
		return nil
	}
	dir := resolve(r.deps, r.artifacts)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--artifacts: %w", err)
	}
	for _, pattern := range []string{"logs/*.log", "run/daemon.log"} {
		files, err := filepath.Glob(filepath.Join(r.state, filepath.FromSlash(pattern)))
		if err != nil {
			return err
		}
		for _, file := range slices.Sorted(slices.Values(files)) {
			if err := copyFile(filepath.Join(dir, filepath.Base(file)), file); err != nil {
				return fmt.Errorf("--artifacts: %w", err)
			}
		}
	}
	return nil
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// end stops the copy and removes it, unless a failed one is to be kept.
func (r *smokeRun) end(ctx context.Context, failed error) error {
	if r.keep && failed != nil && ctx.Err() == nil {
		r.say("It runs on: MESH_STATE=" + pasted(r.state) + " mesh ps; MESH_STATE=" + pasted(r.state) + " mesh down stops it.")
		return r.daemon.detach()
	}
	r.daemon.interrupt(ctx)
	if manifest.HasContainers(r.manifest.Services) {
		if err := container.RemoveVolumes(context.WithoutCancel(ctx), r.state); err != nil {
			return errors.Join(err, os.RemoveAll(r.state))
		}
	}
	if err := workspace.DropDatabases(context.WithoutCancel(ctx), r.manifest, r.state); err != nil {
		return errors.Join(err, os.RemoveAll(r.state))
	}
	return os.RemoveAll(r.state)
}
