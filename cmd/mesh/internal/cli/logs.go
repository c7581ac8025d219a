package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/escape"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/workspace"
)

// logOptions are the flags of logs.
type logOptions struct {
	services   []string
	follow     bool
	since      string
	grep       string
	last       int
	none       bool // -n 0: nothing of what there is
	noPrefix   bool
	timestamps bool
	access     bool // requests, instead of what services print
	format     string
}

// newLogs is `mesh logs`.
func newLogs(d *deps) *cobra.Command {
	o := logOptions{}
	cmd := &cobra.Command{
		Use: "logs [SERVICE...]", Short: "Show what services print, merged in time order", ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.services, o.none = args, cmd.Flags().Changed("lines") && o.last == 0
			return runLogs(cmd.Context(), d, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	f.StringVar(&o.since, "since", "", "only what is younger than `DURATION` (5m) or a time (RFC 3339)")
	f.StringVar(&o.grep, "grep", "", "only lines that match `REGEXP`")
	f.IntVarP(&o.last, "lines", "n", 0, "only the last `N` lines")
	f.BoolVar(&o.noPrefix, "no-prefix", false, "leave out the name of the instance")
	f.BoolVar(&o.timestamps, "timestamps", false, "show times")
	f.BoolVar(&o.access, "access", false, "show requests through the gateway and the links instead; SERVICE is a caller or a callee")
	f.StringVarP(&o.format, "output", "o", "table", "`FORMAT`: table or json (an object a line)")
	completes(cmd, "output", "table", "json")
	return cmd
}

func (o logOptions) query() (logs.Query, error) {
	q := logs.Query{Services: o.services, Last: o.last}
	var err error
	if o.last < 0 {
		return q, usageError("-n %d: it takes 0 or more", o.last)
	}
	if o.grep != "" {
		if q.Grep, err = regexp.Compile(o.grep); err != nil {
			return q, &failure{err: fmt.Errorf("--grep: %w", err), code: exitUsage,
				next: fmt.Sprintf("--grep '%s' looks for the text itself", regexp.QuoteMeta(o.grep))}
		}
	}
	if o.since != "" {
		q.Since, err = sinceTime(o.since)
	}
	if o.none {
		q.Since = time.Now()
	}
	return q, err
}

// sinceTime takes an age or a time.
func sinceTime(text string) (time.Time, error) {
	age, notAge := time.ParseDuration(text)
	at, notTime := time.Parse(time.RFC3339Nano, text)
	switch {
	case notAge == nil:
		return time.Now().Add(-age), nil
	case notTime == nil:
		return at, nil
	}
	return at, usageError("--since %s: neither a duration (5m) nor a time (2026-01-02T15:04:05Z)", text)
}

func runLogs(ctx context.Context, d *deps, o logOptions) error {
	if o.format != "table" && o.format != "json" {
		return usageError("-o %s: logs takes table or json", o.format)
	}
	if _, err := o.query(); err != nil {
		return err
	}
	p, err := d.place()
	if err != nil {
		return err
	}
	err = followLogs(ctx, d, p.client(), o)
	failed, _ := errors.AsType[*control.Error](err)
	absent := failed != nil && failed.Code == control.CodeAbsent && !o.follow
	if (absent || errors.Is(err, control.ErrNotRunning)) && !o.access {
		return storedLogs(d, p, o)
	}
	switch {
	case o.follow && ctx.Err() != nil:
		err = nil // Ctrl-C is how one leaves -f
	case o.follow && err == nil:
		d.say("mesh has stopped here; mesh up starts it again.")
	}
	return explain(err)
}

// followLogs prints what a running workspace has, and with follow what comes.
func followLogs(ctx context.Context, d *deps, client *control.Client, o logOptions) error {
	q, err := o.query()
	if err != nil {
		return err
	}
	if len(o.services) > 0 {
		if _, err := knownServices(ctx, client, slices.DeleteFunc(slices.Clone(o.services), func(name string) bool { return name == workspace.OwnLog })); err != nil {
			return err
		}
	}
	if o.access {
		err = client.Access(ctx, q, o.follow, newAccessPrinter(d, o).print)
	} else {
		err = client.Logs(ctx, q, o.follow, newLinePrinter(d, o).print)
	}
	if errors.Is(err, control.ErrEnded) {
		return nil
	}
	return err
}

// storedLogs prints what is on disk, for when nothing runs.
func storedLogs(d *deps, p place, o logOptions) error {
	m, err := p.load()
	if err != nil {
		return err
	}
	for _, name := range o.services {
		if _, ok := m.Service(name); !ok && name != workspace.OwnLog {
			return explain(&manifest.UnknownService{Name: name, Known: m.Names()})
		}
	}
	q, err := o.query()
	if err != nil {
		return err
	}
	lines, err := logs.Read(filepath.Join(p.state, "logs"), q)
	if err != nil {
		return err
	}
	printer := newLinePrinter(d, o)
	for _, line := range lines {
		if err := printer.print(line); err != nil {
			return err
		}
	}
	return nil
}

// linePrinter writes lines as people read them.
type linePrinter struct {
	d       *deps
	o       logOptions
	colours bool
	json    *json.Encoder
	width   int // of the longest name so far
}

func newLinePrinter(d *deps, o logOptions) *linePrinter {
	p := &linePrinter{d: d, o: o, colours: coloured(d.streams.Out), width: 10}
	if o.format == "json" {
		p.json = json.NewEncoder(d.streams.Out)
	}
	return p
}

func (p *linePrinter) print(l logs.Line) error {
	if p.json != nil {
		return p.json.Encode(l)
	}
	if l.Missed > 0 {
		fmt.Fprintf(p.d.streams.Err, "mesh: %d lines were missed: this terminal is too slow for them; mesh logs shows them\n", l.Missed)
	}
	var b strings.Builder
	if p.o.timestamps {
		b.WriteString(l.Time.Format("15:04:05.000 "))
	}
	if !p.o.noPrefix {
		p.width = max(p.width, len(l.Instance))
		b.WriteString(p.paint(l, fmt.Sprintf("%-*s | ", p.width, l.Instance)))
	}
	b.WriteString(escape.Terminal(l.Line))
	_, err := fmt.Fprintln(p.d.streams.Out, b.String())
	return err
}

// paint gives every service a colour of its own that stays from run to run.
func (p *linePrinter) paint(l logs.Line, text string) string {
	if !p.colours {
		return text
	}
	h := fnv.New32a()
	h.Write([]byte(l.Service))
	palette := []int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", palette[h.Sum32()%uint32(len(palette))], text)
}
