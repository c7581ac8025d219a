package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ebef7166/mesh/runtime"
)

// buildNews is how often a log, which is no terminal, hears what a build is at.
const buildNews = 3 * time.Second

// progress shows what is waited for: one line that changes on a terminal;
// elsewhere a line for each change of a state, and now and then one for what is
// being built.
type progress struct {
	out   io.Writer
	live  bool
	quiet bool
	said  map[string]string // by service
	built string            // what was last said of builds
	news  time.Time         // when that was
}

func newProgress(d *deps) *progress {
	return &progress{out: d.streams.Err, live: terminal(d.streams.Err), quiet: d.quiet, said: map[string]string{}}
}

// service says what state a service is in. Between two instances it has none,
// and of a build builds tells.
func (p *progress) service(s runtime.Service, instances []runtime.Instance) {
	if s.Building || len(instances) == 0 {
		return
	}
	if text := stateOf(instances); p.said[s.Name] != text && text != string(runtime.Building) {
		p.said[s.Name] = text
		p.line(s.Name, text)
	}
}

// builds says what the builds of services are at; one build may be of several.
func (p *progress) builds(services []runtime.Service) {
	names, text := runtime.UnderWay(services)
	if text == "" {
		p.built = ""
		return
	}
	if text == p.built || !p.live && p.built != "" && time.Since(p.news) < buildNews {
		return
	}
	p.built, p.news = text, time.Now()
	p.line(strings.Join(names, ", "), text)
}

func (p *progress) line(of, text string) {
	if p.quiet {
		return
	}
	line := fmt.Sprintf("%-16s %s", of, text)
	if !p.live {
		fmt.Fprintln(p.out, line)
		return
	}
	fmt.Fprintf(p.out, "\r\x1b[K%s", clip(line, 100))
}

// done wipes the line.
func (p *progress) done() {
	if p.live && !p.quiet {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
