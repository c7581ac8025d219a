package cli

import (
	"encoding/json"
	"fmt"

	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/internal/escape"
)

// accessPrinter writes records of requests, one a line.
type accessPrinter struct {
	d       *deps
	colours bool
	json    *json.Encoder // nil: for people
}

func newAccessPrinter(d *deps, o logOptions) *accessPrinter {
	p := &accessPrinter{d: d, colours: coloured(d.streams.Out)}
	if o.format == "json" {
		p.json = json.NewEncoder(d.streams.Out)
	}
	return p
}

func (p *accessPrinter) print(l devgateway.AccessLine) error {
	if p.json != nil {
		return p.json.Encode(l)
	}
	if l.Missed > 0 {
		fmt.Fprintf(p.d.streams.Err, "mesh: %d requests were missed: this terminal is too slow for them\n", l.Missed)
	}
	text := l.Start.Local().Format("15:04:05.000 ") + escape.Visible(l.String())
	if p.colours && l.Status >= 500 {
		text = "\x1b[31m" + text + "\x1b[0m"
	}
	_, err := fmt.Fprintln(p.d.streams.Out, text)
	return err
}
