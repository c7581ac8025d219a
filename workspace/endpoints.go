package workspace

import (
	"context"
	"net"
	"strconv"
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

	mu sync.Mutex // the gateway must not get an older set after a newer
}

func newEndpoints(r *devregistry.Registry, g *devgateway.Gateway, protocol func(string) string) *endpoints {
	return &endpoints{registry: r, gateway: g, protocol: protocol}
}

// Add implements runtime.Endpoints.
func (e *endpoints) Add(i runtime.Instance) {
	host, text, err := net.SplitHostPort(i.Address)
	if err != nil {
		return // a worker, which nobody calls
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return
	}
	e.registry.Register(devregistry.Instance{ID: i.Instance, Service: i.Service, Address: host, Port: port,
		Meta: map[string]string{"version": i.Version, "driver": i.Driver}})
	e.refresh(i.Service)
}

// Remove implements runtime.Endpoints.
func (e *endpoints) Remove(i runtime.Instance) {
	e.registry.Deregister(i.Instance)
	e.refresh(i.Service)
}

// Drain implements runtime.Endpoints.
func (e *endpoints) Drain(ctx context.Context, i runtime.Instance, streams time.Duration) {
	e.gateway.Drain(ctx, i.Address, streams)
}

// refresh gives the gateway what the registry has of a service now.
func (e *endpoints) refresh(service string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	protocol := e.protocol(service)
	var healthy []devgateway.Instance
	for _, i := range e.registry.Passing(service) {
		healthy = append(healthy, devgateway.Instance{ID: i.ID, Addr: net.JoinHostPort(i.Address, strconv.Itoa(i.Port)),
			// Not h2c is no bar to gRPC, which is always spoken over HTTP/2.
			HTTP2: protocol == "h2c", TCP: protocol == "tcp"})
	}
	e.gateway.SetInstances(service, healthy)
}

// follow keeps the gateway in step with what others register, until ctx ends.
func (e *endpoints) follow(ctx context.Context) error {
	e.registry.Follow(ctx, func(services []string) {
		for _, name := range services {
			e.refresh(name)
		}
	})
	return nil
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

// routes are the manifest's routes as the gateway takes them.
func routes(services []*manifest.Service) []devgateway.Route {
	var out []devgateway.Route
	for _, s := range services {
		for _, r := range s.Routes {
			out = append(out, devgateway.Route{
				Service: s.Name, Host: r.Host, Path: r.Path, Prefix: r.Prefix, Methods: r.Methods, Headers: r.Headers,
				Auth: string(r.Auth), Roles: r.Roles, Scopes: r.Scopes, Timeout: time.Duration(r.Timeout),
				BodyLimit: r.BodyLimit, Limit: rateLimit(r.RateLimit), StripPrefix: r.StripPrefix, Position: r.Position,
			})
		}
	}
	return out
}
