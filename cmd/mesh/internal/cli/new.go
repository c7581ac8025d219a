package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/scaffold"
)

type newOptions struct {
	scaffold.ServiceOptions
	list   bool
	output output
	set    []string
}

// newNew is `mesh new`: a new service, or the list of templates.
func newNew(d *deps) *cobra.Command {
	opts := &newOptions{}
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Write a new service from a template",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.list {
				return listTemplates(d, &opts.output)
			}
			return usageError("what is to be made? (see %s --help)", cmd.CommandPath())
		},
	}
	cmd.Flags().BoolVar(&opts.list, "list", false, "list the templates there are")
	opts.output.flag(cmd)
	cmd.AddCommand(newNewService(d))
	return cmd
}

func newNewService(d *deps) *cobra.Command {
	opts := &newOptions{}
	cmd := &cobra.Command{
		Use:   "service NAME",
		Short: "Write a new domain service under services/NAME",
		Example: `  mesh new service cart --calls profile --publishes checked_out --consumes billing.paid
  mesh new service search --template http
  mesh new service mailer --template worker --consumes billing.paid`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.list {
				return listTemplates(d, &opts.output)
			}
			if err := opts.parse(args); err != nil {
				return err
			}
			return runNewService(cmd.Context(), d, opts)
		},
	}
	opts.flags(cmd)
	return cmd
}

func (o *newOptions) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.Template, "template", "", "`TEMPLATE`: connect, http or worker (default connect)")
	flags.StringVar(&o.Database, "database", "", "its own `DATABASE`: sqlite, postgres or none (default the template's)")
	flags.StringSliceVar(&o.Calls, "calls", nil, "`SERVICES` that it calls")
	flags.StringSliceVar(&o.Publishes, "publishes", nil, "`EVENTS` that it sends")
	flags.StringSliceVar(&o.Consumes, "consumes", nil, "`EVENTS` of others that it reacts to, such as billing.paid")
	flags.StringVar(&o.From, "from", "", "use the template in `DIR` instead of a built-in one")
	flags.StringArrayVar(&o.set, "set", nil, "`KEY=VALUE` for a template of your own")
	flags.BoolVar(&o.list, "list", false, "list the templates there are")
	o.output.flag(cmd)
	completes(cmd, "template", templateNames()...)
	completes(cmd, "database", "sqlite", "postgres", "none")
}

// parse turns arguments and flags into the options of a service.
func (o *newOptions) parse(args []string) error {
	if len(args) > 0 {
		o.Name = args[0]
	}
	if len(o.set) > 0 && o.From == "" {
		return usageError("--set is for a template of your own: it goes with --from DIR")
	}
	o.Set = map[string]string{}
	for _, pair := range o.set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return usageError("--set %q: want KEY=VALUE", pair)
		}
		o.Set[key] = value
	}
	return nil
}

func runNewService(ctx context.Context, d *deps, opts *newOptions) error {
	ws, err := openWorkspace(d)
	if err != nil {
		return err
	}
	if opts.Name == "" {
		if !d.streams.interactive() {
			return usageError("the service needs a name: mesh new service NAME")
		}
		if err := askService(ctx, d, ws, &opts.ServiceOptions); err != nil {
			return err
		}
	}
	unlock, err := scaffold.Lock(ws.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if ws, err = openWorkspace(d); err != nil { // another mesh new may have been waited for
		return err
	}
	if err := callable(ws.Dir, opts.ServiceOptions); err != nil {
		return err
	}
	files, err := scaffold.NewService(ctx, ws, opts.ServiceOptions)
	if err != nil {
		return usageError("%w", err)
	}
	missing, err := scaffold.Missing(ws.Dir, files)
	if err == nil {
		err = scaffold.Write(ws.Dir, files)
	}
	if err != nil {
		return explainExists(ws.Dir, opts.Name, err)
	}
	d.say(written(opts.Name, len(missing)) + " Next: mesh up " + opts.Name)
	noteProblems(d, ws.Dir)
	return nil
}

// callable holds that what the new service calls is there: the workspace could not
// run without it. Manifests with mistakes tell names, too.
func callable(dir string, o scaffold.ServiceOptions) error {
	m, err := manifest.Load(dir)
	if m == nil {
		return err
	}
	for _, name := range o.Calls {
		s, known := m.Service(name)
		_, unreadable := os.Stat(filepath.Join(dir, "services", name))
		switch {
		case known && !s.Listens():
			return usageError("--calls: %s cannot be called: it is a %s, without a port", name, s.Kind)
		case !known && unreadable != nil && name != o.Name && manifest.ValidName(name):
			return &failure{err: fmt.Errorf("--calls: %w", &manifest.UnknownService{Name: name, Known: m.Names()}), code: exitUsage,
				next: "mesh new service " + name + " makes it"}
		}
	}
	return nil
}

func written(service string, files int) string {
	if files == 0 {
		return fmt.Sprintf("services/%s is there already, just so: nothing was written.", service)
	}
	return fmt.Sprintf("Wrote services/%s (%d files).", service, files)
}

// openWorkspace finds the workspace that the command is for.
func openWorkspace(d *deps) (scaffold.Workspace, error) {
	if err := d.folder(); err != nil {
		return scaffold.Workspace{}, err
	}
	ws, err := scaffold.Open(d.dir)
	if errors.Is(err, scaffold.ErrNoWorkspace) {
		return ws, notFound(err, "mesh init DIR makes a workspace")
	}
	return ws, err
}

// explainExists is explainWrite for a service, which may be there already.
func explainExists(dir, service string, err error) error {
	at := filepath.Join("services", service)
	_, missing := os.Stat(filepath.Join(dir, at, manifest.ServiceFile))
	if conflict := (*scaffold.ConflictError)(nil); missing != nil || !errors.As(err, &conflict) {
		return explainWrite(err)
	}
	return withNext(fmt.Errorf("%s exists already: it was made with other options, or changed since. Nothing was written", service),
		"choose another name, or edit what is in "+at)
}

// explainWrite adds the next step to what kept files from being written.
func explainWrite(err error) error {
	if conflict := (*scaffold.ConflictError)(nil); errors.As(err, &conflict) {
		return withNext(err, "move these away, or choose another name")
	}
	return err
}

// noteProblems says what the workspace still lacks, such as a service whose
// events the new one consumes: it may be made next.
func noteProblems(d *deps, dir string) {
	_, err := manifest.Load(dir)
	var problems manifest.Problems
	if errors.As(err, &problems) {
		d.say("The workspace cannot run before this is mended:\n" + problems.Error())
	}
}
