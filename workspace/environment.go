package workspace

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ebef7166/mesh/manifest"
)

// hostVariables of mesh's own environment are passed on to every service;
// anything else must be asked for by env_from_host.
var hostVariables = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TZ", "LANG", "LANGUAGE", "TERM",
	"TMPDIR", "TMP", "TEMP", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "COMSPEC", "PATHEXT",
}

// containerVariables are those of them that mean something elsewhere too: paths
// of this machine do not.
var containerVariables = []string{"TZ", "LANG", "LANGUAGE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

var hostPrefixes = []string{"LC_", "GO", "XDG_"}

// environment implements runtime.Environment: it puts together what a service is
// told.
type environment struct {
	ws    *Workspace
	ports *reservations
}

// Address implements runtime.Environment.
func (e environment) Address(s *manifest.Service, instance string) (string, error) {
	if !s.Listens() {
		return "", nil
	}
	return e.ports.take(e.ws.state, instance)
}

// Release implements runtime.Environment.
func (e environment) Release(instance string) { e.ports.give(instance) }

// Environ implements runtime.Environment.
func (e environment) Environ(s *manifest.Service, instance, address string) ([]string, error) {
	files, err := e.ws.Manifest().FileVariables(s)
	if instance != "" {
		e.ws.tellings.note(s.Name, instance, identify(s, files))
	}
	if err != nil {
		return nil, err
	}
	if instance != "" && s.UsesEvents() {
		if _, err := e.ws.broker.begun(); err != nil {
			return nil, err
		}
	}
	vars, err := e.ws.env(s, files)
	if err != nil {
		return nil, err
	}
	values := vars.Values
	if instance != "" {
		values["MESH_INSTANCE"] = instance
		values["OTEL_RESOURCE_ATTRIBUTES"] = "service.instance.id=" + instance + ",service.namespace=" + e.ws.told().Name
	}
	if address != "" {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		values["HOST"], values["PORT"] = host, port
	}
	switch {
	case s.Container():
		e.ws.containers.Load().inside(s, values)
	case instance != "":
		err := tellPorts(s, values, func(name string) (string, error) { return e.ports.take(e.ws.state, furtherPort(instance, name)) })
		if err != nil {
			return nil, err
		}
	}
	if instance == "" {
		s = beforeStart(s, values)
	}
	if err := vars.expand(s); err != nil {
		return nil, err
	}
	return vars.list(), nil
}

// furtherPort is under what a port of an instance beside its main one is held.
func furtherPort(instance, name string) string { return instance + "/" + name }

// tellPorts tells a process the numbers of its further ports, at the addresses that at
// finds; one that an image fixes is the main port here.
func tellPorts(s *manifest.Service, values map[string]string, at func(name string) (string, error)) error {
	more := s.MorePorts()
	for _, name := range slices.Sorted(maps.Keys(s.Ports)) {
		if _, further := more[name]; !further {
			values[s.PortVariable(name)] = values["PORT"]
			continue
		}
		address, err := at(name)
		if err != nil {
			return fmt.Errorf("ports.%s: %w", name, err)
		}
		if _, values[s.PortVariable(name)], err = net.SplitHostPort(address); err != nil {
			return fmt.Errorf("ports.%s: %w", name, err)
		}
	}
	return nil
}

// beforeStart is a service as its build is told of it: without what of its env refers
// to an instance's own, which there is none of yet.
func beforeStart(s *manifest.Service, values map[string]string) *manifest.Service {
	own := []string{"HOST", "PORT", "MESH_INSTANCE"}
	for name := range s.Ports {
		own = append(own, s.PortVariable(name))
	}
	built := *s
	built.Env = maps.Clone(s.Env)
	maps.DeleteFunc(built.Env, func(_, text string) bool {
		_, err := manifest.Expand(text, func(name string) (string, bool) { value, ok := values[name]; return value, ok })
		unset, ok := errors.AsType[*manifest.UnsetVariable](err)
		return ok && slices.Contains(own, unset.Name)
	})
	return &built
}

// Variables are the environment of a service.
type Variables struct {
	Values  map[string]string
	Secrets map[string]bool // names whose values are never shown unasked
}

func (v *Variables) list() []string {
	out := make([]string, 0, len(v.Values))
	for _, name := range slices.Sorted(maps.Keys(v.Values)) {
		out = append(out, name+"="+v.Values[name])
	}
	return out
}

func (v *Variables) secret(name, value string) {
	v.Values[name] = value
	v.Secrets[name] = true
}

// expand lays the manifest's env over the rest, which it may refer to. It wins.
func (v *Variables) expand(s *manifest.Service) error {
	base := maps.Clone(v.Values)
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		value, err := manifest.Expand(s.Env[name], func(name string) (string, bool) { value, ok := base[name]; return value, ok })
		if err != nil {
			return fmt.Errorf("env %s: %w", name, err)
		}
		v.Values[name] = value
		for secret := range v.Secrets {
			if base[secret] != "" && strings.Contains(value, base[secret]) {
				v.Secrets[name] = true
			}
		}
	}
	return nil
}

// Env is the environment of a service, without what only an instance has (HOST,
// PORT, MESH_INSTANCE) and before the manifest's own env, in the contract's
// order: host, .env of the workspace, .env of the service, mesh's table.
func (w *Workspace) Env(s *manifest.Service) (*Variables, error) {
	files, err := w.Manifest().FileVariables(s)
	if err != nil {
		return nil, err
	}
	return w.env(s, files)
}

func (w *Workspace) env(s *manifest.Service, files map[string]string) (*Variables, error) {
	v := &Variables{Values: map[string]string{}, Secrets: map[string]bool{}}
	for _, entry := range os.Environ() {
		if name, value, ok := strings.Cut(entry, "="); ok && fromHost(name, s) {
			v.Values[name] = value
		}
	}
	for name, value := range files {
		v.secret(name, value) // it may be one
	}
	if err := w.table(s, v); err != nil {
		return nil, err
	}
	w.direct(v.Values)
	return v, nil
}

func fromHost(name string, s *manifest.Service) bool {
	if s.Container() {
		return slices.Contains(containerVariables, name) || slices.Contains(s.EnvFromHost, name) || strings.HasPrefix(name, "LC_")
	}
	return slices.Contains(hostVariables, name) || slices.Contains(s.EnvFromHost, name) ||
		slices.ContainsFunc(hostPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// client tells a service its own client. At an issuer of one's own there is none
// but what the manifest knows.
func (w *Workspace) client(s *manifest.Service, v *Variables) {
	if w.identity != nil {
		v.Values["OIDC_CLIENT_ID"] = s.Name
		v.secret("OIDC_CLIENT_SECRET", w.clientSecret(s.Name))
		return
	}
	for _, c := range w.Manifest().Identity.Clients {
		if c.ID == s.Name {
			v.Values["OIDC_CLIENT_ID"] = c.ID
			v.secret("OIDC_CLIENT_SECRET", c.Secret)
		}
	}
}

// table is what the contract says that a service is told.
func (w *Workspace) table(s *manifest.Service, v *Variables) error {
	m := w.told()
	v.Values["MESH_WORKSPACE"], v.Values["MESH_SERVICE"] = m.Dir, s.Name
	v.Values["MESH_STATE"] = w.state.Dir // which copy of the workspace this is, for mesh inside it and for a sweep
	for _, callee := range s.Calls {
		addr := w.links.address(s.Name, callee)
		v.Values[manifest.EnvName(callee)+"_ADDR"] = addr
		v.Values[manifest.EnvName(callee)+"_URL"] = linkURL(m, callee, addr)
	}
	v.Values["CONSUL_HTTP_ADDR"] = hostOf(w.url("registry"))
	v.Values["OIDC_ISSUER"], v.Values["OIDC_AUDIENCE"] = w.url("identity"), m.TokenAudience()
	w.client(s, v)
	v.secret("NATS_URL", w.brokerURL(s.Name))
	v.Values["OTEL_EXPORTER_OTLP_ENDPOINT"] = w.url("otlp_http")
	v.Values["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
	v.Values["OTEL_SERVICE_NAME"] = s.Name
	v.Values["OTEL_RESOURCE_ATTRIBUTES"] = "service.namespace=" + m.Name
	if s.Database == nil {
		return nil
	}
	database, err := w.databases.url(m, s)
	if err != nil {
		return err
	}
	if s.Database.Engine == "postgres" {
		v.secret("DATABASE_URL", w.databaseURL(database))
		return nil
	}
	v.Values["DATABASE_URL"] = database
	return nil
}

// Variables is the whole environment of a service, for a command or a person: as
// its first instance has it, but for the address. MESH_INSTANCE is expanded and
// not told: what has it is taken for the instance, and killed with it.
func (w *Workspace) Variables(service string) (*Variables, error) {
	m := w.Manifest()
	s, ok := m.Service(service)
	if !ok {
		return nil, &manifest.UnknownService{Name: service, Known: m.Names()}
	}
	v, err := w.Env(s)
	if err != nil {
		return nil, err
	}
	if s.Listens() {
		v.Values["HOST"], v.Values["PORT"] = w.whereabouts(s)
	}
	if !s.Container() {
		if err := tellPorts(s, v.Values, func(name string) (string, error) { return w.furtherAddress(s, name), nil }); err != nil {
			return nil, err
		}
	}
	v.Values["MESH_INSTANCE"] = s.Name + "-1"
	err = v.expand(s)
	delete(v.Values, "MESH_INSTANCE")
	return v, err
}

// whereabouts is where a service listens, as somebody who runs it by hand is told.
func (w *Workspace) whereabouts(s *manifest.Service) (host, port string) {
	addresses := []string{s.Elsewhere()}
	if s.Port != 0 {
		addresses = append(addresses, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	}
	for _, i := range w.supervisor.Look(s.Name).Instances {
		addresses = append(addresses, i.Address)
	}
	for _, address := range addresses {
		if host, port, err := net.SplitHostPort(address); err == nil {
			return host, port
		}
	}
	return "127.0.0.1", "0"
}

// furtherAddress is where the first instance that has one listens beside its main port.
func (w *Workspace) furtherAddress(s *manifest.Service, name string) string {
	for _, i := range w.supervisor.Look(s.Name).Instances {
		if address := w.ports.at(furtherPort(i.Instance, name)); address != "" {
			return address
		}
	}
	return "127.0.0.1:0"
}

func linkURL(ws *manifest.Workspace, callee, addr string) string {
	if s, ok := ws.Service(callee); ok && s.Protocol == "tcp" {
		return "tcp://" + addr
	}
	return "http://" + addr
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
