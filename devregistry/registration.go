package devregistry

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
)

// serviceRegistration is the body of PUT /v1/agent/service/register
// (https://developer.hashicorp.com/consul/api-docs/agent/service#register-service).
type serviceRegistration struct {
	ID, Name, Address, Kind string
	Tags                    []string
	Meta                    map[string]string
	Port                    int
	SocketPath              string
	TaggedAddresses         map[string]taggedAddress
	Weights                 *weights
	EnableTagOverride       bool
	Check                   *checkDefinition
	Checks                  []checkDefinition
	Proxy                   map[string]any
	Connect                 struct {
		Native         bool
		SidecarService any
	}
}

// Limits of what a registration may say. They are far beyond what anybody
// means, and keep the memory of a mistake in a loop bounded.
const (
	maxText     = 512
	maxTags     = 256
	maxMeta     = 64 // as in Consul
	maxServices = 50_000
	maxChecks   = 100_000
)

// parse turns a registration into a service and its checks, which may be sent
// within reach.
func (b *serviceRegistration) parse(reach probe.Reach) (*service, []*check, error) {
	if err := b.validate(); err != nil {
		return nil, nil, err
	}
	s := &service{
		Instance: Instance{ID: cmp.Or(b.ID, b.Name), Service: b.Name, Address: b.Address, Port: b.Port, Tags: b.Tags, Meta: b.Meta},
		weights:  defaultWeights, tagged: b.TaggedAddresses, override: b.EnableTagOverride,
	}
	if b.Weights != nil {
		s.weights = *b.Weights
	}
	checks, err := b.parseChecks(s, reach)
	return s, checks, err
}

func (b *serviceRegistration) validate() error {
	switch {
	case b.Name == "":
		return fail(http.StatusBadRequest, "Missing service name")
	case len(b.Name) > maxText || len(b.ID) > maxText || len(b.Address) > maxText:
		return fail(http.StatusBadRequest, "Invalid Service: a name, ID or address is longer than %d bytes", maxText)
	case b.Address == "0.0.0.0" || b.Address == "::" || b.Address == "[::]":
		return fail(http.StatusBadRequest, "Invalid service address")
	case b.Port < 0 || b.Port > 65535:
		return fail(http.StatusBadRequest, "Invalid Service: port %d is out of range", b.Port)
	case len(b.Tags) > maxTags:
		return fail(http.StatusBadRequest, "Invalid Service: more than %d tags", maxTags)
	case len(b.Meta) > maxMeta:
		return fail(http.StatusBadRequest, "Invalid Service Meta: Node metadata cannot contain more than %d key/value pairs", maxMeta)
	case b.Kind != "" || b.SocketPath != "":
		return fail(http.StatusNotImplemented, "service kinds and socket paths are not implemented by mesh's registry")
	case len(b.Proxy) > 0 || b.Connect.Native || b.Connect.SidecarService != nil:
		return fail(http.StatusNotImplemented, "Connect and Proxy are not implemented by mesh's registry: it has no service mesh")
	case b.Weights != nil && (b.Weights.Passing < 1 || b.Weights.Warning < 0 || max(b.Weights.Passing, b.Weights.Warning) > 65535):
		return fail(http.StatusBadRequest, "Invalid Weights: Passing must be greater than 0, Warning not negative, both at most 65535")
	}
	return nil
}

// parseChecks gives checks without an ID the one that Consul gives them.
func (b *serviceRegistration) parseChecks(s *service, reach probe.Reach) ([]*check, error) {
	definitions := b.Checks
	if b.Check != nil {
		definitions = append([]checkDefinition{*b.Check}, definitions...)
	}
	checks := make([]*check, 0, len(definitions))
	for i, d := range definitions {
		id := "service:" + s.ID
		if len(definitions) > 1 {
			id += ":" + strconv.Itoa(i+1)
		}
		c, err := d.parse(id, "Service '"+s.Service+"' check", reach)
		if err != nil {
			return nil, err
		}
		c.serviceID, c.serviceName, c.serviceTags = s.ID, s.Service, s.Tags
		checks = append(checks, c)
	}
	return checks, nil
}

func (r *Registry) registerService(c *call) (any, error) {
	var body serviceRegistration
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	s, checks, err := body.parse(c.reach(r.config.Containers()))
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, known := r.services[s.ID]
	if known && old.own {
		return nil, ofMesh(s.ID)
	}
	if !known && len(r.services) >= maxServices {
		return nil, fail(http.StatusInsufficientStorage, "the registry holds %d services, its limit", maxServices)
	}
	if len(r.checks)+len(checks) > maxChecks {
		return nil, fail(http.StatusInsufficientStorage, "the registry holds %d checks, and its limit is %d", len(r.checks), maxChecks)
	}
	r.addService(s, checks, c.has("replace-existing-checks"))
	return nil, nil
}

// addService puts a service and its checks. Registering what is there
// already only refreshes its TTLs and wakes nobody.
func (r *Registry) addService(s *service, checks []*check, replace bool) {
	old, known := r.services[s.ID]
	changed := !known || !old.equal(s)
	if changed {
		r.putService(s)
	}
	keep := make(map[string]bool, len(checks))
	for _, c := range checks {
		keep[c.id] = true
		changed = r.addCheck(c) || changed
	}
	for id, c := range r.checksOn[s.ID] {
		if !keep[id] && replace {
			r.dropCheck(c)
			changed = true
		}
	}
	if changed {
		r.serviceChanged(s.Service)
	}
}

// addCheck puts a check and reports whether a reader sees a difference. One that
// the registry is making already goes on as it was.
func (r *Registry) addCheck(c *check) (changed bool) {
	before, ok := r.checks[c.id]
	if ok && before.serviceID != c.serviceID {
		r.removeCheck(c.id)
	}
	same := ok && before.sameAs(c)
	if !same || c.target == nil {
		r.putCheck(c)
	}
	return !same
}

func (r *Registry) deregisterService(c *call) (any, error) {
	id := c.PathValue("id")
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, known := r.services[id]; known && s.own {
		return nil, ofMesh(id)
	}
	if !r.removeService(id) {
		return nil, unknownService(id)
	}
	return nil, nil
}

// ofMesh refuses to change an instance that mesh runs: its requests would have
// nowhere to go, and mesh would not know.
func ofMesh(id string) error {
	return fail(http.StatusForbidden, "%s is run and registered by mesh: mesh stop takes it away, and another ID is free", id)
}

func unknownService(id string) error {
	return fail(http.StatusNotFound, "Unknown service ID %q. Ensure that the service ID is passed, not the service name.", id)
}
