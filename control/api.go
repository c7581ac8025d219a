// Package control is the local API of a running workspace: HTTP and JSON over a
// unix socket, its server, and its only client, which every command and both
// dashboards use.
//
//	GET  /v1/status                       Status
//	GET  /v1/snapshot                     runtime.Snapshot, with what it uses
//	GET  /v1/events                       a line a Update: a snapshot, then events
//	GET  /v1/logs?service=&n=&since=&grep=&follow=   a line a logs.Line
//	GET  /v1/access?service=&n=&since=&grep=&follow= a line a devgateway.AccessLine
//	GET  /v1/routes                       []devgateway.Route
//	GET  /v1/outside                      what a command outside is told, of mesh smoke
//	GET  /v1/events/dead?n=               []devbroker.DeadLetter
//	GET  /v1/services/{name}/env          Environment
//	GET  /v1/services/{name}/why          Explanation
//	POST /v1/services/{verb}              {"services": [...]}: start, stop, restart, rebuild
//	POST /v1/tasks/{name}                 runs a task
//	POST /v1/scale                        {"service": "", "replicas": 1}
//	POST /v1/apply                        ApplyRequest -> runtime.Plan
//	POST /v1/token                        TokenRequest -> {"token": ""}
//	POST /v1/identity/rotate              devidentity.Rotation
//	POST /v1/shutdown                     {"now": false}: stops the workspace
//
// Errors are {"error": "", "code": ""} with a status of 4xx or 5xx; the code is
// one of the constants here.
package control

import (
	"fmt"
	"time"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/workspace"
)

// Endpoint is where a built-in is reached.
type Endpoint struct {
	URL string `json:"url"`
}

// Status is a running workspace at a glance, as `mesh status -o json` prints it.
type Status struct {
	Workspace string    `json:"workspace"` // absolute path
	Name      string    `json:"name"`
	PID       int       `json:"pid"`   // of the daemon
	State     string    `json:"state"` // starting, healthy, degraded or stopping
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	Isolation string    `json:"isolation"` // what ends processes if mesh dies
	Problems  []string  `json:"problems"`  // of the workspace as a whole, in words

	Gateway     Endpoint `json:"gateway"`
	Registry    Endpoint `json:"registry"`
	RegistryDNS Endpoint `json:"registry_dns"` // dns://host:port, UDP and TCP
	Identity    Endpoint `json:"identity"`
	Broker      Endpoint `json:"broker"`
	OTLPGRPC    Endpoint `json:"otlp_grpc"`
	OTLPHTTP    Endpoint `json:"otlp_http"`
	Metrics     Endpoint `json:"metrics"`
	Control     Endpoint `json:"control"`

	FixedPorts []workspace.FixedPort `json:"fixed_ports"`
	Services   []runtime.Service     `json:"services"`
}

// Builtins are the addresses in the order in which people want them.
func (s Status) Builtins() []NamedEndpoint {
	return []NamedEndpoint{
		{"gateway", s.Gateway.URL}, {"identity", s.Identity.URL}, {"registry", s.Registry.URL}, {"registry_dns", s.RegistryDNS.URL}, {"broker", s.Broker.URL},
		{"otlp_http", s.OTLPHTTP.URL}, {"otlp_grpc", s.OTLPGRPC.URL}, {"metrics", s.Metrics.URL}, {"control", s.Control.URL},
	}
}

// NamedEndpoint is an address with its name.
type NamedEndpoint struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Update is one line of the event stream: the first has a snapshot, and so has
// one after events were missed; the others have an event.
type Update struct {
	Snapshot *runtime.Snapshot `json:"snapshot,omitempty"`
	Events   []runtime.Event   `json:"events,omitempty"`
}

// Environment is what a service is told. Values of secrets are masked unless
// they were asked for.
type Environment struct {
	Values  map[string]string `json:"values"`
	Secrets []string          `json:"secrets"` // names, sorted
}

// Masked stands for a value that is not shown.
const Masked = "********"

// ApplyRequest brings a running workspace to its manifest as it is on disk.
type ApplyRequest struct {
	Selection manifest.Selection `json:"selection"`
	Driver    string             `json:"driver"` // "" for the one of this run
	DryRun    bool               `json:"dry_run"`
}

// TokenRequest asks for an access token, of a user or of a client.
type TokenRequest struct {
	User    string        `json:"user"`
	Client  string        `json:"client"`
	Scopes  []string      `json:"scopes"`
	Expires time.Duration `json:"expires"` // nanoseconds; 0: an hour
}

// Explanation says why a service is in the state it is in.
type Explanation = workspace.Explanation

// Codes of errors.
const (
	CodeUnknown = "unknown_service" // no such service, user or client
	CodeAbsent  = "absent_service"  // one that the manifest has, and this run has not
	CodeInvalid = "invalid"         // the request or the manifest
	CodeFailed  = "failed"
)

// Error is what the server answers instead of a result.
type Error struct {
	Message string `json:"error"`
	Code    string `json:"code"`
}

func (e *Error) Error() string { return e.Message }

// Absent is the error for a service that the manifest has, and this run has not.
func Absent(service string) *Error {
	return &Error{fmt.Sprintf("%s is not part of this run; mesh up -d %[1]s adds it", service), CodeAbsent}
}
