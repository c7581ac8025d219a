package workspace

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// endpoints implements runtime.Endpoints: healthy instances go into the
// registry, and what the registry has goes to the gateway, whoever put it there.
type endpoints struct {
	registry *devregistry.Registry
	gateway  *devgateway.Gateway
	protocol func(service string) string // of the manifest

	mu     sync.Mutex // the gateway must not get an older set after a newer
	bridge *containers
	here   map[string]told // healthy instances that are called, by name
}

// told is an instance that the registry tells of, and the ear on the bridge at
// which it does, if it takes one.
type told struct {
	runtime.Instance
	ear ear
}

func newEndpoints(r *devregistry.Registry, g *devgateway.Gateway, protocol func(string) string) *endpoints {
	return &endpoints{registry: r, gateway: g, protocol: protocol, here: map[string]told{}}
}

// join has the registry tell addresses that containers reach, too.
func (e *endpoints) join(bridge *containers) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bridge = bridge
	for _, i := range e.here {
		e.tell(i.Instance)
	}
}

// Add implements runtime.Endpoints.
func (e *endpoints) Add(i runtime.Instance) {
	if i.Address == "" {
		return // a worker, which nobody calls
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tell(i)
	e.refresh(i.Service)
}

// tell registers an instance; e.mu is held.
func (e *endpoints) tell(i runtime.Instance) {
	address, ear := e.bridge.reach(i)
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return
	}
	e.here[i.Instance] = told{i, ear}
	e.registry.Register(devregistry.Instance{ID: i.Instance, Service: i.Service, Address: host, Port: port,
		Meta: map[string]string{"version": i.Version, "driver": i.Driver}})
}

// Remove implements runtime.Endpoints.
func (e *endpoints) Remove(i runtime.Instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.registry.Deregister(i.Instance)
	e.here[i.Instance].ear.close()
	delete(e.here, i.Instance)
	e.refresh(i.Service)
}

// Drain implements runtime.Endpoints.
func (e *endpoints) Drain(ctx context.Context, i runtime.Instance, streams time.Duration) {
	e.gateway.Drain(ctx, i.Address, streams)
}

// refresh gives the gateway what the registry has of a service now; e.mu is held.
func (e *endpoints) refresh(service string) {
	protocol := e.protocol(service)
	var healthy []devgateway.Instance
	for _, i := range e.registry.Passing(service) {
		address := net.JoinHostPort(i.Address, strconv.Itoa(i.Port))
		if own, ok := e.here[i.ID]; ok {
			address = own.Address // the gateway needs no relay
		}
		healthy = append(healthy, devgateway.Instance{ID: i.ID, Addr: address,
			// Not h2c is no bar to gRPC, which is always spoken over HTTP/2.
			HTTP2: protocol == "h2c"})
	}
	e.gateway.SetInstances(service, healthy)
}

// follow keeps the gateway in step with what others register, until ctx ends.
func (e *endpoints) follow(ctx context.Context) error {
	e.registry.Follow(ctx, func(services []string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, name := range services {
			e.refresh(name)
		}
	})
	return nil
}

// silent are the healthy instances of a service that checks in the registry keep from
// requests, each with what those say.
func (e *endpoints) silent(service string) map[string]string {
	e.mu.Lock()
	defer e.mu.Unlock()
	silent := map[string]string{}
	for id, t := range e.here {
		if t.Service != service {
			continue
		}
		if against := e.registry.Against(id); len(against) > 0 {
			silent[id] = strings.Join(against, "; ")
		}
	}
	return silent
}

// strangers says where the registry and mesh differ in who serves: instances that
// others registered get requests too, and those of mesh whose checks somebody has
// made critical get none.
func (e *endpoints) strangers(services []*manifest.Service) (differ []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	silent := maps.Clone(e.here)
	for _, s := range services {
		for _, i := range e.registry.Passing(s.Name) {
			delete(silent, i.ID)
			if _, ours := e.here[i.ID]; !ours {
				differ = append(differ, fmt.Sprintf("%s gets requests for %s at %s:%d: it was registered by somebody else", i.ID, s.Name, i.Address, i.Port))
			}
		}
	}
	maps.DeleteFunc(silent, func(_ string, t told) bool { // about to be stopped
		return !slices.ContainsFunc(services, func(s *manifest.Service) bool { return s.Name == t.Service })
	})
	for _, id := range slices.Sorted(maps.Keys(silent)) {
		differ = append(differ, id+" is healthy and gets no requests: a check of it in the registry says otherwise, or it is in maintenance there")
	}
	return differ
}

// protocolOf reads the protocol of a service from the newest manifest.
func (w *Workspace) protocolOf(service string) string {
	if s, ok := w.Manifest().Service(service); ok {
		return s.Protocol
	}
	return "auto"
}

var _ runtime.Endpoints = (*endpoints)(nil)

func rateLimit(l *manifest.RateLimit) devgateway.Limit {
	if l == nil {
		return devgateway.Limit{}
	}
	return devgateway.Limit{Requests: l.Requests, Per: l.Per.Or(manifest.DefaultRatePeriod)}
}

func retries(r *manifest.Retries) devgateway.Retries {
	return devgateway.Retries{Attempts: *r.Attempts, Codes: r.Codes, Backoff: time.Duration(r.Backoff)}
}

func cors(c *manifest.CORS) devgateway.CORS {
	if c == nil {
		return devgateway.CORS{}
	}
	return devgateway.CORS{Origins: c.Origins, Expose: c.Expose}
}

func outliers(o manifest.Outliers) devgateway.Outliers {
	return devgateway.Outliers{Failures: cmp.Or(o.Failures, manifest.DefaultFailures), Base: o.Base.Or(manifest.DefaultEjection), Max: o.Max.Or(manifest.DefaultMaxEjection)}
}

// setGateway gives the gateway what mesh.yaml says of all its routes and links.
func (w *Workspace) setGateway(m manifest.Gateway) {
	w.gateway.SetCORS(cors(m.CORS))
	w.gateway.SetLinkRetries(retries(m.Retries))
	w.gateway.SetOutliers(outliers(m.Outliers))
}

// outlierProblems are the instances that get no requests for a while, in words.
func outlierProblems(all []devgateway.Outlier) []string {
	var problems []string
	for _, o := range all {
		problems = append(problems, fmt.Sprintf("%s gets no requests until %s, since it failed several times in a row: %s", o.Instance, o.Until.Format(time.TimeOnly), o.Cause))
	}
	return problems
}

// routes are the manifest's routes as the gateway takes them: those of services that
// run, and the workspace's own.
func routes(own []manifest.Route, services []*manifest.Service) []devgateway.Route {
	var out []devgateway.Route
	for _, r := range own {
		out = append(out, route(r, ""))
	}
	for _, s := range services {
		for _, r := range s.Routes {
			out = append(out, route(r, s.Name))
		}
	}
	return out
}

func route(r manifest.Route, service string) devgateway.Route {
	return devgateway.Route{
		Service: service, Static: r.Static, SPA: r.SPA, URL: r.URL, Host: r.Host, Path: r.Path, Prefix: r.Prefix, Methods: r.Methods, Headers: r.Headers,
		Auth: string(r.Auth), Roles: r.Roles, Scopes: r.Scopes, Timeout: time.Duration(r.Timeout),
		BodyLimit: r.BodyLimit, Limit: rateLimit(r.RateLimit), Retries: retries(r.Retries), CORS: cors(r.CORS), StripPrefix: r.StripPrefix, Rewrite: r.Rewrite, Position: r.Position,
	}
}
