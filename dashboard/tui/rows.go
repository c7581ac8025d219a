package tui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebef7166/mesh/internal/escape"
	"github.com/ebef7166/mesh/runtime"
)

// row is one line of the table, in words.
type row struct {
	service  string
	label    string // what is in the first column
	part     bool   // one instance of several
	state    runtime.State
	count    string // healthy of wanted, where there are several
	restarts string
	cpu, mem string
	address  string
	age      string
	version  string
	info     string // why, or how far
	troubled bool   // info is of something wrong
}

// rows is a row for each service, and below it one for each instance if there is
// more than one.
func (p servicesPane) rows() []row {
	var rows []row
	for _, s := range p.now.Services {
		instances := p.now.Of(s.Name)
		rows = append(rows, p.serviceRow(s, instances))
		if len(instances) < 2 {
			continue
		}
		for _, i := range instances {
			r := p.instanceRow(i)
			r.label, r.part = "└ "+strings.TrimPrefix(i.Instance, i.Service+"-"), true
			rows = append(rows, r)
		}
	}
	return rows
}

func (p servicesPane) serviceRow(s runtime.Service, instances []runtime.Instance) row {
	r := row{service: s.Name, state: runtime.Pending}
	if len(instances) > 0 {
		r = p.instanceRow(worst(instances))
		r.sum(p, instances)
	}
	r.label = s.Name
	if healthy := count(instances, runtime.Healthy); s.Replicas > 1 || len(instances) > 1 {
		r.count = fmt.Sprintf("%d/%d", healthy, max(s.Replicas, 1))
		r.address = ""
	}
	switch {
	case s.Building && len(instances) == 0:
		r.state = runtime.Building
	case atRest(s, instances):
		r.state, r.info, r.troubled = stopped, "", false
	}
	switch {
	case s.BuildError != "":
		r.info, r.troubled = "does not build: "+firstLine(s.BuildError), true
	case s.Building:
		r.info, r.troubled = cmp.Or(clean(s.Progress), "building"), false
	}
	return r
}

// atRest reports whether a service does not run because somebody stopped it.
func atRest(s runtime.Service, instances []runtime.Instance) bool {
	for _, i := range instances {
		if !i.State.Final() || !s.Stopped && (i.State != runtime.Exited || !strings.HasPrefix(i.Reason, "stopped")) {
			return false
		}
	}
	return s.Stopped || len(instances) > 0
}

func (p servicesPane) instanceRow(i runtime.Instance) row {
	r := row{
		service: i.Service, state: i.State, address: i.Address, version: shortVersion(i.Version),
		info: clean(i.Reason), troubled: i.State == runtime.Failed || i.State == runtime.Unhealthy || i.State == runtime.Backoff,
	}
	if i.Restarts > 0 {
		r.restarts = strconv.Itoa(i.Restarts)
	}
	if i.State.Running() {
		r.use(p.usage[i.Instance])
		if i.StartedAt != nil && !p.clock.IsZero() {
			r.age = age(p.clock.Sub(*i.StartedAt))
		}
	}
	return r
}

// sum is what all instances use and how often they were restarted.
func (r *row) sum(p servicesPane, instances []runtime.Instance) {
	var total usage
	restarts := 0
	for _, i := range instances {
		u := p.usage[i.Instance]
		total.cpu, total.memory = total.cpu+u.cpu, total.memory+u.memory
		restarts += i.Restarts
	}
	r.use(total)
	r.restarts = ""
	if restarts > 0 {
		r.restarts = strconv.Itoa(restarts)
	}
}

func (r *row) use(u usage) {
	r.cpu, r.mem = "", ""
	if u.memory > 0 {
		r.cpu, r.mem = strconv.FormatFloat(u.cpu, 'f', 1, 64)+"%", megabytes(u.memory)
	}
}

// worst is the instance that a person should look at first.
func worst(instances []runtime.Instance) runtime.Instance {
	order := []runtime.State{runtime.Failed, runtime.Backoff, runtime.Unhealthy, runtime.Building, runtime.Pending,
		runtime.Starting, runtime.Healthy, runtime.Stopping, runtime.Exited}
	return slices.MinFunc(instances, func(a, b runtime.Instance) int {
		return cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State))
	})
}

func count(instances []runtime.Instance, state runtime.State) (n int) {
	for _, i := range instances {
		if i.State == state {
			n++
		}
	}
	return n
}

func megabytes(n int64) string {
	const mib = 1 << 20
	if n < 1000*mib {
		return strconv.FormatInt((n+mib/2)/mib, 10) + " MiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}

func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func shortVersion(v string) string { return v[:min(len(v), 12)] }

// clean makes words from elsewhere fit on one line of a terminal.
func clean(text string) string {
	return strings.ReplaceAll(escape.Terminal(strings.TrimSpace(text)), "\t", "    ")
}

func firstLine(text string) string {
	for line := range strings.Lines(text) {
		// The go command names the package first, in a line that begins with #.
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return clean(line)
		}
	}
	return clean(text)
}
