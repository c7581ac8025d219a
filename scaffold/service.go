package scaffold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/templates"
)

// service is what the templates of a service see.
type service struct {
	Name         string // order-items
	Type         string // OrderItems
	Package      string // orderitems; its contract is package orderitemsv1
	ProtoPackage string // order_items
	Domain       string // package of the domain
	Module       string // example.com/shop/services/order-items
	Contracts    string // example.com/shop/contracts
	Workspace    string // shop; only templates of somebody's own use it
	Template     string
	Database     string
	Calls        []call
	Publishes    []event
	Consumes     []event
	Set          map[string]string
}

// call is a service that this one calls.
type call struct {
	Name, Type, Var, Env, Package string
	Service                       string // of its contract
	Contract                      bool   // whether there is one
}

func (s service) Connect() bool { return s.Template == "connect" }
func (s service) Worker() bool  { return s.Template == "worker" }
func (s service) DB() bool      { return s.Database != "none" }
func (s service) HTTP() bool    { return s.Template == "http" }
func (s service) Store() bool   { return s.DB() || s.Connect() }
func (s service) Memory() bool  { return s.Store() && !s.DB() }
func (s service) Model() bool   { return s.Store() || len(s.Publishes) > 0 } // whether there is a domain
func (s service) NATS() bool    { return len(s.Publishes)+len(s.Consumes) > 0 }

func (s service) contractCalls() bool {
	return slices.ContainsFunc(s.Calls, func(c call) bool { return c.Contract })
}

func (s service) PlainCalls() bool {
	return slices.ContainsFunc(s.Calls, func(c call) bool { return !c.Contract })
}

func (s service) OtelConnect() bool { return s.contractCalls() }

func (s service) TypedConsumes() bool {
	return slices.ContainsFunc(s.Consumes, func(e event) bool { return e.Typed })
}

func (s service) UntypedConsumes() bool {
	return slices.ContainsFunc(s.Consumes, func(e event) bool { return !e.Typed })
}

func (s service) UsesContracts() bool {
	return s.Connect() || s.contractCalls() || s.TypedConsumes()
}

// Streams are the services whose events this one consumes.
func (s service) Streams() []string {
	var out []string
	for _, e := range s.Consumes {
		out = append(out, e.Service)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ConsumedContracts are those of Streams whose messages are known.
func (s service) ConsumedContracts() []call {
	var out []call
	for _, e := range s.Consumes {
		c := call{Name: e.Service, Package: e.Package}
		if e.Typed && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// newService checks opts and works out what the templates need.
// All that is wrong is reported at once.
func newService(ws Workspace, opts ServiceOptions) (service, error) {
	t, err := findTemplate(orDefault(opts.Template, "connect"))
	if err != nil && opts.From == "" {
		return service{}, err
	}
	problems := []error{CheckName(opts.Name), checkModule(ws.module())}
	s := service{
		Name: opts.Name, Type: camel(opts.Name), Package: squash(opts.Name), ProtoPackage: snake(opts.Name),
		Domain: domainPackage(opts.Name), Workspace: ws.Name,
		Module: ws.module() + "/services/" + opts.Name, Contracts: ws.module() + "/contracts",
		Template: t.Name, Database: orDefault(opts.Database, orDefault(t.Database, "none")), Set: opts.Set,
	}
	if !slices.Contains([]string{"sqlite", "postgres", "none"}, s.Database) {
		problems = append(problems, fmt.Errorf("%s is not a database that a template knows (sqlite, postgres, none)", quote(s.Database)))
	}
	if s.Worker() && len(sorted(opts.Publishes)) > 0 && s.Database == "none" {
		problems = append(problems, errors.New("a worker that publishes needs a database for its outbox"))
	}
	problems = append(problems, s.addCalls(ws, opts), s.addEvents(ws, opts))
	return s, errors.Join(problems...)
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (s *service) addCalls(ws Workspace, opts ServiceOptions) error {
	var problems []error
	for _, name := range sorted(opts.Calls) {
		if err := CheckName(name); err != nil {
			problems = append(problems, fmt.Errorf("calls: %w", err))
			continue
		}
		if name == s.Name {
			problems = append(problems, fmt.Errorf("calls: %s cannot call itself", name))
			continue
		}
		c := call{Name: name, Type: camel(name), Var: ident(name), Package: squash(name),
			Env: strings.ToUpper(snake(name))}
		if m := serviceRE().FindStringSubmatch(readContract(ws, name)); m != nil {
			c.Contract, c.Service = true, m[1]
		}
		s.Calls = append(s.Calls, c)
	}
	return errors.Join(problems...)
}

func (s *service) addEvents(ws Workspace, opts ServiceOptions) error {
	var problems []error
	types := map[string]string{}
	for _, name := range sorted(opts.Publishes) {
		e, err := parseEvent(name, s.Name)
		switch {
		case err != nil:
		case e.Service != s.Name:
			err = fmt.Errorf("publishes: %s is not an event of %s: its events are called %s.EVENT", name, s.Name, s.Name)
		case types[e.Type] != "":
			err = fmt.Errorf("publishes: %s and %s would share the message %s", types[e.Type], name, e.Type)
		}
		types[e.Type] = name
		problems = append(problems, err)
		s.Publishes = append(s.Publishes, e)
	}
	funcs := map[string]string{}
	for _, name := range sorted(opts.Consumes) {
		e, err := parseEvent(name, "")
		switch {
		case err != nil:
		case e.Service == s.Name:
			err = fmt.Errorf("consumes: %s is this service's own event", name)
		case funcs[e.Func] != "":
			err = fmt.Errorf("consumes: %s and %s would share the handler %s", funcs[e.Func], name, e.Func)
		}
		funcs[e.Func] = name
		problems = append(problems, err)
		if err == nil {
			e.Typed = regexp.MustCompile(`(?m)^message ` + e.Type + `\b`).MatchString(readContract(ws, e.Service))
			s.Consumes = append(s.Consumes, e)
		}
	}
	return errors.Join(problems...)
}

var serviceRE = lazyregexp.New(`(?m)^service (\w+)`)

// readContract returns the text of a service's contract, empty when it has none.
func readContract(ws Workspace, name string) string {
	if ws.contracts != nil {
		return ws.contracts[name]
	}
	paths, _ := filepath.Glob(filepath.Join(ws.Dir, "contracts", name, "v1", "*.proto"))
	var all strings.Builder
	for _, path := range paths {
		data, _ := os.ReadFile(path)
		all.Write(data)
		all.WriteByte('\n')
	}
	return all.String()
}

// NewService returns the files of a new service: its folder, its contract with
// the generated code, and go.work with the service in it. Nothing is written.
func NewService(ctx context.Context, ws Workspace, opts ServiceOptions) ([]File, error) {
	files, contract, err := serviceFiles(ws, opts, "")
	if err != nil {
		return nil, err
	}
	code, err := contractFiles(ctx, ws, contract)
	if err != nil {
		return nil, err
	}
	work, err := editWork(ws, opts.Name, len(contract) > 0)
	return slices.Concat(files, code, work), err
}

// serviceFiles returns the files of a service, and its contract without the
// code generated from it. The tree of templates called extra, if any, is what a
// team has written since: .template.yaml knows nothing of it.
func serviceFiles(ws Workspace, opts ServiceOptions, extra string) (files, contract []File, err error) {
	s, err := newService(ws, opts)
	if err != nil {
		return nil, nil, err
	}
	trees, err := serviceTrees(opts, s)
	if err != nil {
		return nil, nil, err
	}
	if files, err = renderAll(trees, s); err != nil {
		return nil, nil, err
	}
	if files, err = addModule(files, s); err != nil {
		return nil, nil, err
	}
	made := record(s, opts, files)
	if extra != "" {
		if files, err = extend(files, extra, s); err != nil {
			return nil, nil, err
		}
	}
	files, contract = takeContract(append(files, made), s)
	return under("services/"+s.Name, files), contract, nil
}

func renderAll(trees []tree, s service) ([]File, error) {
	var files []File
	for _, tree := range trees {
		more, err := render(tree, s)
		if err != nil {
			return nil, err
		}
		files = overlay(files, more)
	}
	return files, nil
}

// extend lays the tree of templates called name over files. An empty file in it
// takes away the one of its name.
func extend(files []File, name string, s service) ([]File, error) {
	t, err := subTree(templates.FS, name)
	if err != nil {
		return nil, err
	}
	more, err := verbatim(t)
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f File) bool { return f.Path == "go.mod" || f.Path == "go.sum" })
	return addModule(dropEmpty(overlay(files, more)), s)
}

// takeContract separates a service's contract, which lives elsewhere.
func takeContract(files []File, s service) (rest, contract []File) {
	for _, f := range files {
		if f.Path == "contract.proto" {
			f.Path = "contracts/" + s.Name + "/v1/" + snake(s.Name) + ".proto"
			contract = append(contract, f)
		} else {
			rest = append(rest, f)
		}
	}
	return rest, contract
}

// serviceTrees are the trees that make a service, later ones over earlier ones.
func serviceTrees(opts ServiceOptions, s service) ([]tree, error) {
	if opts.From != "" {
		t, err := openTree(opts.From)
		return []tree{t}, err
	}
	common, err := subTree(templates.FS, "service")
	if err != nil {
		return nil, err
	}
	own, err := subTree(templates.FS, s.Template)
	return []tree{common, own}, err
}
