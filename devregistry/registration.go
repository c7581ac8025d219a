package devregistry

import (
	"net/http"
	"strconv"
	"time"
)

// serviceRegistration is the body of PUT /v1/agent/service/register.
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
}

// checkDefinition is a check in a service registration, and the body of
// PUT /v1/agent/check/register.
type checkDefinition struct {
	ID, CheckID, Name, Notes, Status, ServiceID string

	TTL                            duration
	DeregisterCriticalServiceAfter duration

	HTTP, TCP, UDP, GRPC, H2PING, AliasService, AliasNode, DockerContainerID, OSService string
	Args                                                                                []string
}

// Limits of what a registration may say. They are far beyond what anybody
// means, and keep the memory of a mistake in a loop bounded.
const (
	maxText     = 512
	maxTags     = 256
	maxMeta     = 64 // as in Consul
	maxServices = 50_000
)

// parse turns a registration into a service and its checks.
func (b *serviceRegistration) parse() (*service, []*check, error) {
	if err := b.validate(); err != nil {
		return nil, nil, err
	}
	s := &service{
		Instance: Instance{ID: b.ID, Service: b.Name, Address: b.Address, Port: b.Port, Tags: b.Tags, Meta: b.Meta},
		weights:  defaultWeights, tagged: b.TaggedAddresses, override: b.EnableTagOverride,
	}
	if s.ID == "" {
		s.ID = b.Name
	}
	if b.Weights != nil {
		s.weights = *b.Weights
	}
	checks, err := b.parseChecks(s)
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
	case b.Weights != nil && (b.Weights.Passing < 1 || b.Weights.Warning < 0):
		return fail(http.StatusBadRequest, "Invalid Weights: Passing must be greater than 0 and Warning not negative")
	}
	return nil
}

// parseChecks gives checks without an ID the one that Consul gives them.
func (b *serviceRegistration) parseChecks(s *service) ([]*check, error) {
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
		c, err := d.parse(id, "Service '"+s.Service+"' check")
		if err != nil {
			return nil, err
		}
		c.serviceID, c.serviceName, c.serviceTags = s.ID, s.Service, s.Tags
		checks = append(checks, c)
	}
	return checks, nil
}

func (d *checkDefinition) parse(defaultID, defaultName string) (*check, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	c := &check{
		id: firstOf(d.CheckID, d.ID, defaultID), name: firstOf(d.Name, defaultName), notes: d.Notes,
		kind: "ttl", status: firstOf(d.Status, statusCritical), serviceID: d.ServiceID,
		ttl: time.Duration(d.TTL), reapAfter: time.Duration(d.DeregisterCriticalServiceAfter),
	}
	return c, nil
}

func (d *checkDefinition) validate() error {
	switch {
	case d.HTTP != "" || d.TCP != "" || d.UDP != "" || d.GRPC != "" || d.H2PING != "" || d.AliasService != "" ||
		d.AliasNode != "" || d.DockerContainerID != "" || d.OSService != "" || len(d.Args) > 0:
		return fail(http.StatusNotImplemented, "only TTL checks are implemented by mesh's registry")
	case d.TTL <= 0:
		return fail(http.StatusBadRequest, "Invalid check: TTL must be > 0 for TTL checks")
	case d.DeregisterCriticalServiceAfter < 0:
		return fail(http.StatusBadRequest, "Invalid check: DeregisterCriticalServiceAfter is negative")
	case len(d.ID) > maxText || len(d.CheckID) > maxText || len(d.Name) > maxText:
		return fail(http.StatusBadRequest, "Invalid check: a name or ID is longer than %d bytes", maxText)
	}
	switch d.Status {
	case "", statusPassing, statusWarning, statusCritical:
		return nil
	}
	return fail(http.StatusBadRequest, "Bad check status")
}

func firstOf(choices ...string) string {
	for _, s := range choices {
		if s != "" {
			return s
		}
	}
	return ""
}
