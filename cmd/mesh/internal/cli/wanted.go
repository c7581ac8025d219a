package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ebef7166/mesh/internal/escape"
	"github.com/ebef7166/mesh/manifest"
)

// wanted is what a command line says of the services to run, before the manifests
// are known.
type wanted struct {
	Selection manifest.Selection `json:"selection"`
	External  []string           `json:"external"` // SERVICE=ADDR
	Driver    string             `json:"driver"`
}

// of is what is wanted of the services of m, which take the driver.
func (w wanted) of(m *manifest.Workspace) (manifest.Selection, error) {
	m.UseDriver(w.Driver)
	selection := w.Selection
	var err error
	if selection.External, err = parseExternal(m, w.External, w.Selection.Except); err != nil {
		return selection, err
	}
	if _, err := m.Select(selection); err != nil {
		return selection, explain(err)
	}
	if err := m.CheckProfiles(selection.Profiles); err != nil {
		return selection, usageError("--profile: %w", err)
	}
	if len(m.Services) == 0 {
		return selection, &failure{err: errors.New("this workspace has no services"), next: "mesh new service NAME", code: exitUsage}
	}
	return selection, nil
}

// remarks are what somebody who starts services should hear of the manifests.
type remarks struct {
	Warnings []string `json:"warnings"`
	Notes    []string `json:"notes"` // which --quiet leaves out
}

// remarks also name the services that run as processes although containers were
// asked for.
func (w wanted) remarks(m *manifest.Workspace) remarks {
	r := remarks{Warnings: warnings(m)}
	if w.Driver != "container" {
		return r
	}
	for _, s := range m.Services {
		if !s.Container() && !s.External() && s.Driver == "" {
			r.Notes = append(r.Notes, s.Name+" runs as a process: there is no image of what it runs (go, dockerfile or image makes one).")
		}
	}
	return r
}

func warnings(m *manifest.Workspace) []string {
	texts := []string{}
	for _, w := range slices.Concat(m.Warnings, m.ForContainers()) {
		texts = append(texts, w.String())
	}
	return texts
}

func (d *deps) remark(r remarks) {
	for _, text := range r.Warnings {
		fmt.Fprintf(d.streams.Err, "mesh: warning: %s\n", escape.Terminal(text))
	}
	for _, text := range r.Notes {
		d.say(text)
	}
}
