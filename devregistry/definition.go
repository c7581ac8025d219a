package devregistry

import (
	"cmp"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
)

// minInterval is the shortest time between two probes; a shorter one is raised to
// it, as in Consul.
const minInterval = time.Second

// checkDefinition is a check in a service registration, and the body of
// PUT /v1/agent/check/register
// (https://developer.hashicorp.com/consul/api-docs/agent/check#register-check).
type checkDefinition struct {
	ID, CheckID, Name, Notes, Status, ServiceID string

	TTL                            duration
	DeregisterCriticalServiceAfter duration

	HTTP             string
	Method, Body     string
	Header           map[string][]string
	DisableRedirects bool

	TCP       string
	TCPUseTLS bool

	GRPC       string
	GRPCUseTLS bool

	TLSServerName     string
	TLSSkipVerify     bool
	Interval, Timeout duration

	SuccessBeforePassing   int
	FailuresBeforeWarning  int
	FailuresBeforeCritical int

	UDP, H2PING, AliasService, AliasNode, DockerContainerID, OSService string
	Args, ScriptArgs                                                   []string
	Shell                                                              string
}

func (d *checkDefinition) same(o *checkDefinition) bool {
	return d.TTL == o.TTL && d.DeregisterCriticalServiceAfter == o.DeregisterCriticalServiceAfter &&
		d.HTTP == o.HTTP && d.Method == o.Method && d.Body == o.Body && maps.EqualFunc(d.Header, o.Header, slices.Equal) &&
		d.DisableRedirects == o.DisableRedirects && d.TCP == o.TCP && d.TCPUseTLS == o.TCPUseTLS &&
		d.GRPC == o.GRPC && d.GRPCUseTLS == o.GRPCUseTLS && d.TLSServerName == o.TLSServerName && d.TLSSkipVerify == o.TLSSkipVerify &&
		d.Interval == o.Interval && d.Timeout == o.Timeout && d.SuccessBeforePassing == o.SuccessBeforePassing &&
		d.FailuresBeforeWarning == o.FailuresBeforeWarning && d.FailuresBeforeCritical == o.FailuresBeforeCritical
}

// parse makes a check that may be sent within reach.
func (d *checkDefinition) parse(defaultID, defaultName string, reach probe.Reach) (*check, error) {
	if err := d.validate(); err != nil {
		return nil, err
	}
	c := &check{
		id: cmp.Or(d.CheckID, d.ID, defaultID), name: cmp.Or(d.Name, defaultName), notes: d.Notes,
		kind: "ttl", status: cmp.Or(d.Status, statusCritical), serviceID: d.ServiceID, definition: *d,
		ttl: time.Duration(d.TTL), reapAfter: time.Duration(d.DeregisterCriticalServiceAfter),
	}
	if strings.HasPrefix(c.id, ownPrefix) {
		return nil, checkOfMesh(c.id)
	}
	if !d.probed() {
		return c, nil
	}
	c.target = d.target(reach)
	c.kind, c.interval = c.target.Kind(), max(time.Duration(d.Interval), minInterval)
	return c, d.withinReach(reach)
}

func (d *checkDefinition) probed() bool { return d.HTTP != "" || d.TCP != "" || d.GRPC != "" }

func (d *checkDefinition) target(reach probe.Reach) *probe.Target {
	return &probe.Target{
		HTTP: d.HTTP, Method: cmp.Or(d.Method, http.MethodGet), Body: d.Body, Header: d.Header, StayThere: d.DisableRedirects,
		TCP: d.TCP, GRPC: d.GRPC, TLS: d.TCPUseTLS || d.GRPCUseTLS, ServerName: d.TLSServerName, SkipVerify: d.TLSSkipVerify,
		Timeout: time.Duration(d.Timeout), Reach: reach,
	}
}

// withinReach refuses at once what no probe could reach. A name that leads out of
// reach is found out when it is probed.
func (d *checkDefinition) withinReach(reach probe.Reach) error {
	host, err := d.host()
	if err == nil {
		err = reach.Refuse(host)
	}
	if err != nil {
		return fail(http.StatusBadRequest, "Invalid check: %v", err)
	}
	return nil
}

func (d *checkDefinition) host() (string, error) {
	if d.HTTP == "" {
		address, _, _ := strings.Cut(d.TCP+d.GRPC, "/")
		host, _, err := net.SplitHostPort(address)
		return host, err
	}
	u, err := url.Parse(d.HTTP)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		return "", fail(http.StatusBadRequest, "%q is no http or https URL", d.HTTP)
	}
	if err != nil {
		return "", err
	}
	return u.Hostname(), nil
}

func (d *checkDefinition) validate() error {
	if err := d.unsupported(); err != nil {
		return err
	}
	wrong := d.wrong()
	if wrong == "" {
		return nil
	}
	return fail(http.StatusBadRequest, "Invalid check: %s", wrong)
}

func (d *checkDefinition) unsupported() error {
	kind := ""
	switch {
	case len(d.Args)+len(d.ScriptArgs) > 0 || d.Shell != "" || d.DockerContainerID != "" || d.OSService != "":
		return fail(http.StatusNotImplemented, "Scripts are disabled on this agent: mesh's registry runs no commands")
	case d.UDP != "":
		kind = "UDP"
	case d.H2PING != "":
		kind = "H2PING"
	case d.AliasService != "" || d.AliasNode != "":
		kind = "alias"
	default:
		return nil
	}
	return fail(http.StatusNotImplemented, "%s checks are not implemented by mesh's registry; TTL, HTTP, TCP and gRPC are", kind)
}

func (d *checkDefinition) wrong() string {
	switch {
	case d.TTL < 0 || d.Interval < 0 || d.Timeout < 0 || d.DeregisterCriticalServiceAfter < 0:
		return "a duration is negative"
	case d.several():
		return "HTTP, TCP and GRPC exclude each other"
	case d.TTL > 0 && d.Interval > 0:
		return "Interval and TTL cannot both be specified"
	case d.probed() && d.Interval == 0:
		return "Interval must be > 0 for HTTP, TCP or GRPC checks"
	case !d.probed() && d.TTL == 0:
		return "TTL must be > 0 for TTL checks"
	case d.FailuresBeforeWarning > d.FailuresBeforeCritical:
		return "FailuresBeforeWarning can't be higher than FailuresBeforeCritical"
	case len(d.ID) > maxText || len(d.CheckID) > maxText || len(d.Name) > maxText:
		return "a name or ID is longer than what is held"
	case d.Status != "" && d.Status != statusPassing && d.Status != statusWarning && d.Status != statusCritical:
		return "Bad check status"
	}
	return ""
}

func (d *checkDefinition) several() bool {
	n := 0
	for _, target := range []string{d.HTTP, d.TCP, d.GRPC} {
		if target != "" {
			n++
		}
	}
	return n > 1
}

func (d *checkDefinition) warnAfter() int {
	return cmp.Or(d.FailuresBeforeWarning, d.FailuresBeforeCritical)
}
