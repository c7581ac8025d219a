package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/dashboard/tui"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// upOptions are the flags of up, which demo takes too.
type upOptions struct {
	detach      bool
	waitTimeout time.Duration
	profiles    []string
	except      []string
	external    []string
	isolated    bool
	noDeps      bool
	noTUI       bool
	gateway     string
	driver      string
	dryRun      bool
	planned     output // of dryRun
	names       []string
}

func (o *upOptions) flags(f *pflag.FlagSet) {
	f.BoolVarP(&o.detach, "detach", "d", false, "return once all is healthy, and leave it running")
	f.DurationVar(&o.waitTimeout, "wait-timeout", 0, "how long --detach waits after the build (default 2m0s)")
	f.StringSliceVar(&o.profiles, "profile", nil, "also run the services of `PROFILE`")
	f.StringSliceVar(&o.except, "except", nil, "do not run `SERVICE`")
	f.StringArrayVar(&o.external, "external", nil, "do not run `SERVICE=ADDR` but send its requests to ADDR (host:port), where an IDE runs it")
	f.BoolVar(&o.isolated, "isolated", false, "run one more copy, on free ports and with data of its own")
	f.BoolVar(&o.noDeps, "no-deps", false, "run the services named alone")
	f.BoolVar(&o.noTUI, "no-tui", false, "print log lines instead of the dashboard")
	f.StringVar(&o.gateway, "gateway", "", "`ADDR` of the gateway; port 0 takes a free one")
	f.StringVar(&o.driver, "driver", "", "run services by this `DRIVER`: process or container")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be done, and do nothing")
	f.StringVarP(&o.planned.format, "output", "o", "table", "`FORMAT` of what --dry-run prints: table, json or yaml")
}

// newUp is `mesh up`.
func newUp(d *deps) *cobra.Command {
	o := &upOptions{}
	cmd := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Build and run services, with what they depend on and call",
		Long: `Build and run the services named and what they depend on and call; all of them when none is named.
On a terminal this opens the dashboard; otherwise, and when CI is set, it prints prefixed log lines.
Run again with -d in a workspace that runs already, it applies what has changed in the manifests.`,
		ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			return runUp(cmd.Context(), d, o)
		},
	}
	o.flags(cmd.Flags())
	completes(cmd, "output", "table", "json", "yaml")
	completes(cmd, "driver", "process", "container")
	_ = cmd.RegisterFlagCompletionFunc("except", d.completeServices) // there is such a flag
	return cmd
}

func (o *upOptions) wanted() wanted {
	return wanted{Driver: o.driver, External: o.external,
		Selection: manifest.Selection{Names: o.names, Profiles: o.profiles, NoDeps: o.noDeps, Except: o.except}}
}

func runUp(ctx context.Context, d *deps, o *upOptions) error {
	p, err := d.place()
	if err != nil {
		return err
	}
	fresh := o.isolated && !p.isCopy()
	if fresh {
		p = p.freeCopy()
	}
	o.isolated = p.isCopy()
	if err := o.settle(); err != nil {
		return err
	}
	client := p.client()
	status, err := client.Status(ctx)
	running := err == nil
	switch {
	case err != nil && !errors.Is(err, control.ErrNotRunning):
		return explain(err)
	case o.dryRun:
		return dryRun(ctx, d, p, o, client, running)
	case running && status.State == "stopping":
		if err := o.awaitEnd(ctx, d, p); err != nil {
			return err
		}
	case running && !o.detach:
		return withNext(fmt.Errorf("mesh runs in this workspace already (pid %d)", status.PID), "mesh dash shows it; mesh up -d applies changes; mesh down stops it")
	case running:
		o.mentionGateway(d, status.Gateway.URL)
		return applyChanges(ctx, d, p, o, client)
	}
	return start(ctx, d, o, p, fresh)
}

// awaitEnd waits for a daemon that stops what it runs.
func (o *upOptions) awaitEnd(ctx context.Context, d *deps, p place) error {
	d.say("It is being stopped here; waiting for the end of that.")
	ctx, cancel := context.WithTimeoutCause(ctx, o.waitTimeout, errTimeout)
	defer cancel()
	err := p.client().Gone(ctx)
	if errors.Is(context.Cause(ctx), errTimeout) {
		return withNext(fmt.Errorf("what runs here has not stopped after %v", o.waitTimeout), "mesh ps shows what is left")
	}
	p.awaitEnd(ctx)
	return err
}

// mentionGateway says that an address that is asked for comes too late.
func (o *upOptions) mentionGateway(d *deps, at string) {
	_, port, _ := net.SplitHostPort(o.gateway)
	if is, err := url.Parse(at); err == nil && o.gateway != "" && port != "0" && port != is.Port() {
		d.say("The gateway stays at " + at + ": mesh runs already; mesh down first, to have it at " + o.gateway + ".")
	}
}

// settle completes the options from the settings.
func (o *upOptions) settle() error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	set, err := loadSettings()
	if err != nil {
		return err
	}
	if o.gateway == "" && !o.isolated {
		o.gateway = set.gateway
	}
	if o.driver == "" {
		o.driver = set.driver
	}
	if o.waitTimeout == 0 {
		o.waitTimeout = set.waitTimeout
	}
	return nil
}

// checkFlags holds what is given as flags to what the settings are held to.
func (o *upOptions) checkFlags() error {
	if form := cmp.Or(o.planned.format, "table"); form != "table" && !o.dryRun {
		return usageError("-o %s is for what --dry-run prints; mesh status -o %s shows what runs", form, form)
	}
	if o.gateway != "" {
		if err := manifest.CheckAddress(o.gateway); err != nil {
			return usageError("--gateway: %w", err)
		}
	}
	if err := checkTimeout("--wait-timeout", o.waitTimeout); err != nil {
		return err
	}
	if o.driver != "" {
		if err := checkDriver(o.driver); err != nil {
			return usageError("--driver: %w", err)
		}
	}
	return nil
}

// read reads the manifests and what of them is wanted, and says what about them
// is worth saying.
func (o *upOptions) read(d *deps, p place) (*manifest.Workspace, manifest.Selection, error) {
	m, err := p.load()
	if err != nil {
		return nil, manifest.Selection{}, err
	}
	wanted := o.wanted()
	selection, err := wanted.of(m)
	if err != nil {
		return nil, selection, err
	}
	d.remark(wanted.remarks(m))
	return m, selection, nil
}

func dryRun(ctx context.Context, d *deps, p place, o *upOptions, client *control.Client, running bool) error {
	m, selection, err := o.read(d, p)
	if err != nil {
		return err
	}
	var plan runtime.Plan
	if running {
		plan, err = client.Apply(ctx, control.ApplyRequest{Selection: selection, Driver: o.driver, DryRun: true})
	} else {
		selected, e := m.Select(selection)
		plan, err = runtime.NewPlan(selected, nil), e
	}
	if err != nil {
		return explain(err)
	}
	if plan == nil {
		plan = runtime.Plan{} // an empty list in JSON, too
	}
	return o.planned.print(d.streams.Out, plan, func(w io.Writer) { fmt.Fprintln(w, plan) })
}

func applyChanges(ctx context.Context, d *deps, p place, o *upOptions, client *control.Client) error {
	m, selection, err := o.read(d, p)
	if err != nil {
		return err
	}
	wanted, err := m.Select(selection)
	if err != nil {
		return explain(err)
	}
	plan, err := client.Apply(ctx, control.ApplyRequest{Selection: selection, Driver: o.driver})
	if err != nil {
		return explain(err)
	}
	if !d.quiet {
		fmt.Fprintln(d.streams.Err, plan)
	}
	d.tellProblems(ctx, client)
	w := &waiting{names: o.waitedFor(wanted), condition: manifest.Healthy, newest: true, progress: newProgress(d), limit: o.waitTimeout}
	return leftRunning(ctx, client, w.wait(ctx, client))
}

// waitedFor are the services that were asked for. A task that runs by itself beside all
// of them is not.
func (o *upOptions) waitedFor(wanted []*manifest.Service) []string {
	names := slices.Clone(o.names)
	if len(names) == 0 {
		for _, s := range wanted {
			names = append(names, s.Name)
		}
	}
	return names
}

// errStopped says that the wait is over because there is nothing left to wait
// for.
var errStopped = errors.New("somebody stopped it meanwhile")

// leftRunning says with the reason why a wait failed what became of the services.
func leftRunning(ctx context.Context, client *control.Client, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	s, gone := client.Status(ctx)
	if errors.Is(err, control.ErrEnded) || errors.Is(gone, control.ErrNotRunning) || s.State == "stopping" {
		return withNext(errStopped, "mesh up -d starts it again")
	}
	if f := asFailure(err); f.next != "" {
		f.next += " says why; all is left running, mesh down stops it"
		return f
	}
	return err
}

// start launches the daemon and stays with it, or lets it go once all is
// healthy. A fresh copy that another client has taken meanwhile is left to it.
func start(ctx context.Context, d *deps, o *upOptions, p place, fresh bool) error {
	options := daemonOptions{Dir: p.dir, State: p.state, Gateway: o.gateway, Wanted: o.wanted(), Isolated: o.isolated, Watch: true}
	patience := time.Now().Add(o.waitTimeout)
	daemon, err := launch(options)
	for fresh && errors.Is(err, control.ErrRunning) {
		p = p.freeCopy()
		options.State = p.state
		daemon, err = launch(options)
	}
	for o.detach && errors.Is(err, control.ErrRunning) && time.Now().Before(patience) {
		if joined, err := join(ctx, d, o, p); joined {
			return err
		}
		daemon, err = launch(options)
	}
	if err != nil {
		return err
	}
	d.remark(daemon.remarks)
	if o.isolated {
		d.mentionCopy(p)
	}
	if o.detach {
		return startDetached(ctx, d, o, daemon)
	}
	if d.streams.interactive() && !o.noTUI {
		return dashboard(ctx, d, daemon)
	}
	d.banner(ctx, daemon.client)
	return stay(ctx, d, daemon)
}

// stay prints what services say until everything has stopped, which the end of ctx
// begins: their last words, too.
func stay(ctx context.Context, d *deps, daemon *daemonProcess) error {
	quiet := d.tellStart(ctx, daemon.client)
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = followLogs(context.WithoutCancel(ctx), d, daemon.client, logOptions{follow: true})
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	quiet()
	d.finish(ctx, daemon)
	<-ended
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err = cmp.Or(daemon.death(), err); err == nil {
		d.say("It was stopped from elsewhere.")
	}
	return err
}

// join applies what is wanted to a daemon that another client has started just
// now. False is for one that does not answer: it is about to, or has ended.
func join(ctx context.Context, d *deps, o *upOptions, p place) (bool, error) {
	select {
	case <-ctx.Done():
		return true, ctx.Err()
	case <-time.After(50 * time.Millisecond):
	}
	client := p.client()
	switch s, err := client.Status(ctx); {
	case errors.Is(err, control.ErrNotRunning), err == nil && s.State == "stopping":
		return false, nil
	case err != nil:
		return true, explain(err)
	}
	return true, applyChanges(ctx, d, p, o, client)
}

// finish stops everything, in order; one more Ctrl-C stops it at once.
func (d *deps) finish(ctx context.Context, daemon *daemonProcess) {
	// It may have been stopped from elsewhere, or by the dashboard.
	if _, err := daemon.client.Status(context.WithoutCancel(ctx)); err == nil {
		d.say("Stopping; once more kills what is left.")
	}
	daemon.interrupt(ctx)
}

// dashboard shows the terminal dashboard; leaving it stops everything, unless it
// was left by detaching.
func dashboard(ctx context.Context, d *deps, daemon *daemonProcess) error {
	left, err := tui.Run(ctx, daemon.client, tui.Options{In: d.streams.In, Out: d.streams.Out, Owner: true})
	if err != nil || left != tui.Detached {
		d.finish(ctx, daemon)
		if errors.Is(err, control.ErrEnded) {
			return cmp.Or(daemon.death(), err)
		}
		return err
	}
	fmt.Fprintln(d.streams.Err, "Detached: it runs on. mesh dash shows it, mesh down stops it.")
	return daemon.detach()
}

func startDetached(ctx context.Context, d *deps, o *upOptions, daemon *daemonProcess) error {
	d.banner(ctx, daemon.client)
	err := leftRunning(ctx, daemon.client, waitFor(ctx, d, daemon.client, nil, o.waitTimeout))
	switch {
	case ctx.Err() != nil:
		d.finish(ctx, daemon)
		return ctx.Err()
	case errors.Is(err, errStopped):
		daemon.stop()
		return cmp.Or(daemon.death(), err)
	}
	// Also when something is not healthy: all is left running, so that
	// `mesh why` works.
	return errors.Join(err, daemon.detach())
}

// tellStart says, beside the log lines, how the start goes, until all is healthy.
// The function that it returns ends that.
func (d *deps) tellStart(ctx context.Context, client *control.Client) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		w := &waiting{condition: manifest.Healthy, progress: newProgress(d)}
		w.progress.live = false // a line that changes would be torn by those of the log
		said := ""
		err := client.Watch(ctx, func(now runtime.Snapshot) bool {
			w.look(now)
			if w.verdict != nil && w.verdict.Error() != said {
				said = w.verdict.Error()
				report(d.streams.Err, w.verdict)
			}
			return len(w.missing) == 0
		})
		if err == nil {
			d.allHealthy(ctx, client)
		}
	}()
	return func() { cancel(); <-told }
}

// allHealthy says so, and where to go from there.
func (d *deps) allHealthy(ctx context.Context, client *control.Client) {
	if s, err := client.Status(ctx); err == nil {
		d.say(fmt.Sprintf("All healthy at %s  ·  mesh routes  ·  mesh token --user NAME", strings.TrimSuffix(s.Gateway.URL, "/")))
	}
}

// banner says where everything is.
func (d *deps) banner(ctx context.Context, client *control.Client) {
	if d.quiet {
		return
	}
	s, err := client.Status(ctx)
	if err != nil {
		return // the next call will say
	}
	fmt.Fprintf(d.streams.Err, "%s: gateway %s, identity %s, registry %s\n", s.Name, s.Gateway.URL, s.Identity.URL, s.Registry.URL)
}
