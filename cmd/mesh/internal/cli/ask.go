package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"charm.land/huh/v2"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/scaffold"
)

// askService asks for what the command line did not say, and then says which
// command line would have.
func askService(ctx context.Context, d *deps, ws scaffold.Workspace, o *scaffold.ServiceOptions) error {
	var publishes string
	around := neighbours(ws)
	first := append([]huh.Field{askName(ws, o)}, askKind(o)...)
	second := append(around.ask(o), huh.NewInput().Title("Which events does it publish?").
		Description("With commas between, such as checked_out, emptied. Empty for none.").Value(&publishes).
		Validate(func(text string) error { return tryService(ctx, ws, *o, text) }))
	form := huh.NewForm(huh.NewGroup(first...).Title("A new service in "+ws.Name), huh.NewGroup(second...).Title("Its neighbours")).
		WithInput(d.streams.In).WithOutput(d.streams.Out).WithAccessible(os.Getenv("ACCESSIBLE") != "")
	if err := form.RunWithContext(ctx); errors.Is(err, huh.ErrUserAborted) {
		return &failure{err: errors.New("nothing was written"), code: exitInterrupted}
	} else if err != nil {
		return err
	}
	o.Publishes = append(o.Publishes, list(publishes)...)
	if !d.quiet {
		fmt.Fprintln(d.streams.Err, "Without questions:", commandLine(o))
	}
	return nil
}

func askName(ws scaffold.Workspace, o *scaffold.ServiceOptions) huh.Field {
	return huh.NewInput().Title("What is it called?").Placeholder("cart").Value(&o.Name).Validate(func(name string) error {
		if err := scaffold.CheckName(name); err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Join(ws.Dir, "services", name)); err == nil {
			return fmt.Errorf("services/%s is there already", name)
		}
		return nil
	})
}

// askKind asks for the template and the database, unless they are named.
func askKind(o *scaffold.ServiceOptions) (fields []huh.Field) {
	var kinds []huh.Option[string]
	var own []string
	for _, t := range scaffold.Templates() {
		kinds = append(kinds, huh.NewOption(fmt.Sprintf("%-8s %s", t.Name, t.Description), t.Name))
		own = append(own, t.Name+" "+t.Database)
	}
	if o.Template == "" && o.From == "" {
		fields = append(fields, huh.NewSelect[string]().Title("What kind of service?").Options(kinds...).Value(&o.Template))
	}
	if o.Database == "" && o.From == "" {
		fields = append(fields, huh.NewSelect[string]().Title("Which database of its own?").Value(&o.Database).Options(
			huh.NewOption("the usual ("+strings.Join(own, ", ")+")", ""), huh.NewOption("SQLite", "sqlite"),
			huh.NewOption("PostgreSQL", "postgres"), huh.NewOption("none", "none")))
	}
	return fields
}

// around are the services and events that a new one can connect to.
type around struct{ services, events []string }

// neighbours are what the workspace's manifests name; nothing, where they have
// mistakes: those must not stand in the way of a new service.
func neighbours(ws scaffold.Workspace) (a around) {
	m, err := manifest.Load(ws.Dir)
	if err != nil {
		return a
	}
	for _, s := range m.Services {
		if s.Kind == manifest.KindService {
			a.services = append(a.services, s.Name)
		}
		a.events = append(a.events, s.Publishes...)
	}
	slices.Sort(a.events)
	return a
}

func (a around) ask(o *scaffold.ServiceOptions) (fields []huh.Field) {
	if len(a.services) > 0 && o.Calls == nil {
		fields = append(fields, askSome("Which services does it call?", a.services, &o.Calls))
	}
	if len(a.events) > 0 && o.Consumes == nil {
		fields = append(fields, askSome("Which events does it react to?", a.events, &o.Consumes))
	}
	return fields
}

func askSome(title string, names []string, into *[]string) huh.Field {
	const header, most = 2, 6 // lines; longer lists scroll
	return huh.NewMultiSelect[string]().Title(title).Description("Space chooses.").Options(huh.NewOptions(names...)...).
		Value(into).Filterable(false).Height(header + min(len(names), most))
}

// tryService finds out whether all answers go together, while they can still be
// changed.
func tryService(ctx context.Context, ws scaffold.Workspace, o scaffold.ServiceOptions, publishes string) error {
	o.Publishes = append(slices.Clone(o.Publishes), list(publishes)...)
	_, err := scaffold.NewService(ctx, ws, o)
	return err
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// commandLine is the command that asks nothing and does the same.
func commandLine(o *scaffold.ServiceOptions) string {
	line := "mesh new service " + o.Name
	for _, flag := range [][2]string{
		{"--template", o.Template}, {"--database", o.Database}, {"--calls", strings.Join(o.Calls, ",")},
		{"--publishes", strings.Join(o.Publishes, ",")}, {"--consumes", strings.Join(o.Consumes, ",")},
	} {
		if flag[1] != "" {
			line += " " + flag[0] + " " + flag[1]
		}
	}
	return line
}
