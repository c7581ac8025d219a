// Package manifest says what mesh.yaml and mesh.service.yaml mean: it decodes
// them strictly, keeps the position of everything a message may point at, and
// answers questions about the graph of services. It runs nothing.
package manifest

import (
	"cmp"
	"path/filepath"
	"slices"
	"time"
)

// File names of a workspace.
const (
	WorkspaceFile = "mesh.yaml"
	LocalFile     = "mesh.local.yaml"
	ServiceFile   = "mesh.service.yaml"
)

// IsManifest reports whether a file is one by its name.
func IsManifest(path string) bool {
	return slices.Contains([]string{WorkspaceFile, LocalFile, ServiceFile}, filepath.Base(path))
}

// Workspace is a whole workspace: mesh.yaml with every service it names,
// defaults applied and checked.
type Workspace struct {
	Dir      string              // absolute
	Name     string              // also the audience of its tokens
	Gateway  Gateway             // how the outside comes in
	Identity Identity            // who may come in
	Services []*Service          // sorted by name
	Warnings []Problem           // accepted, but probably not what was meant; beside ForContainers
	byName   map[string]*Service // index of Services
}

// Document is mesh.yaml as written.
type Document struct {
	Version   int        `yaml:"version" json:"version" jsonschema:"required,enum=1"`
	Name      string     `yaml:"name" json:"name" jsonschema:"required"`
	Services  ServiceSet `yaml:"services,omitempty" json:"services,omitempty"`
	Defaults  *Service   `yaml:"defaults,omitempty" json:"defaults,omitempty"`
	Gateway   Gateway    `yaml:"gateway,omitempty" json:"gateway,omitempty"`
	Identity  Identity   `yaml:"identity,omitempty" json:"identity,omitempty"`
	Databases Databases  `yaml:"databases,omitempty" json:"databases,omitempty"`
	// Alerts have no effect yet.
	Alerts []any `yaml:"alerts,omitempty" json:"alerts,omitempty"`
	// Telemetry has no effect yet: the built-in receiver is used.
	Telemetry map[string]any `yaml:"telemetry,omitempty" json:"telemetry,omitempty"`
}

// ServiceSet says where the services are: globs of their folders, or a map
// from name to the service itself with its folder.
type ServiceSet struct {
	Globs  []string
	Inline map[string]*Service
}

// Gateway configures the API gateway.
type Gateway struct {
	// Address to listen on; 127.0.0.1:8080 unless given.
	Address string `yaml:"address,omitempty" json:"address,omitempty"`
	// Hosts that requests may name beside the address itself.
	Hosts []string `yaml:"hosts,omitempty" json:"hosts,omitempty"`
	// Auth of routes that say nothing themselves.
	Auth Auth `yaml:"auth,omitempty" json:"auth,omitempty" jsonschema:"enum=required,enum=optional,enum=none"`
	// CORS of routes that say nothing themselves: origins that browsers may call from.
	CORS *CORS `yaml:"cors,omitempty" json:"cors,omitempty"`
	// RateLimit of routes that say nothing themselves.
	RateLimit *RateLimit `yaml:"rate_limit,omitempty" json:"rate_limit,omitempty"`
	// Retries of routes that say nothing themselves, and of links.
	Retries *Retries `yaml:"retries,omitempty" json:"retries,omitempty"`
	// Outliers says when an instance that fails gets no requests for a while, on routes and links.
	Outliers Outliers `yaml:"outliers,omitempty" json:"outliers,omitempty"`
	// Routes to files and to URLs outside of the workspace, such as a front end's development server.
	Routes []Route `yaml:"routes,omitempty" json:"routes,omitempty"`
	// TLS makes the gateway speak HTTPS.
	TLS *TLS `yaml:"tls,omitempty" json:"tls,omitempty"`
}

// TLS is a certificate that is given. Its files are read again when they change.
type TLS struct {
	// Cert is a PEM file with the certificate, and behind it those that it was issued by; relative to the workspace.
	Cert string `yaml:"cert" json:"cert"`
	// Key is a PEM file with its private key; relative to the workspace.
	Key string `yaml:"key" json:"key"`
}

// CORS names the origins whose pages may call the gateway from a browser.
type CORS struct {
	// Origins of the pages, such as http://localhost:5173; "*" is any. On a route the gateway's unless given, and [] is none.
	Origins []string `yaml:"origins,omitempty" json:"origins,omitempty"`
	// Expose names response headers that pages may read, beside those that the service exposes itself. On a route the gateway's unless given.
	Expose []string `yaml:"expose,omitempty" json:"expose,omitempty"`
}

// RateLimit bounds the requests to a route for each subject, or address without
// one; beyond it the answer is 429 with Retry-After.
type RateLimit struct {
	// Requests at once, and in the time that Per gives.
	Requests int `yaml:"requests" json:"requests" jsonschema:"minimum=1"`
	// Per is the time; a second unless given.
	Per Duration `yaml:"per,omitempty" json:"per,omitempty"`
}

// Retries says how often a request is sent again that is safe to send twice: one of
// an idempotent method, or with an Idempotency-Key, with a body of at most 64 KiB,
// that no instance answered but with one of the codes.
type Retries struct {
	// Attempts beside the first; 2 unless given, 0 for none.
	Attempts *int `yaml:"attempts,omitempty" json:"attempts,omitempty" jsonschema:"minimum=0,maximum=10"`
	// Codes of answers to send it again for; 502 and 503 unless given. One with Retry-After is passed on.
	Codes []int `yaml:"codes,omitempty" json:"codes,omitempty"`
	// Backoff before the first retry; it doubles each time. 25ms unless given.
	Backoff Duration `yaml:"backoff,omitempty" json:"backoff,omitempty"`
}

// Outliers leaves an instance out that has failed several times one after another:
// no answer, 502, 503, 504 or gRPC's UNAVAILABLE. At least half of the instances stay.
type Outliers struct {
	// Failures one after another; 5 unless given.
	Failures int `yaml:"failures,omitempty" json:"failures,omitempty" jsonschema:"minimum=1"`
	// Base is for how long the first time; twice as long the second time, and so on. 5s unless given.
	Base Duration `yaml:"base,omitempty" json:"base,omitempty"`
	// Max bounds it; 1m unless given.
	Max Duration `yaml:"max,omitempty" json:"max,omitempty"`
}

// Identity configures the identity provider.
type Identity struct {
	// Issuer of your own, an OpenID Connect provider, which takes the place of the
	// built-in one: https, or http on this machine.
	Issuer string `yaml:"issuer,omitempty" json:"issuer,omitempty"`
	// Audience that its tokens are for; the name of the workspace unless given.
	Audience string `yaml:"audience,omitempty" json:"audience,omitempty"`
	// RolesClaim is the claim of its tokens that the roles are in, such as
	// realm_access.roles; roles unless given.
	RolesClaim string `yaml:"roles_claim,omitempty" json:"roles_claim,omitempty"`
	// Users who may sign in.
	Users []User `yaml:"users,omitempty" json:"users,omitempty"`
	// Clients beside the one that every service has.
	Clients []Client `yaml:"clients,omitempty" json:"clients,omitempty"`
}

// TokenAudience is whom access tokens of this workspace are for.
func (w *Workspace) TokenAudience() string { return cmp.Or(w.Identity.Audience, w.Name) }

// User is somebody who may sign in. The name is the subject of their tokens.
type User struct {
	Name  string   `yaml:"name" json:"name"`
	Email string   `yaml:"email,omitempty" json:"email,omitempty"`
	Roles []string `yaml:"roles,omitempty" json:"roles,omitempty"`
	// Claims more than these, for tokens and userinfo: a name to any value.
	Claims map[string]any `yaml:"claims,omitempty" json:"claims,omitempty"`
}

// Client is an OAuth client. Without a secret it is a public one.
type Client struct {
	ID           string   `yaml:"id" json:"id"`
	Secret       string   `yaml:"secret,omitempty" json:"secret,omitempty"`
	RedirectURIs []string `yaml:"redirect_uris,omitempty" json:"redirect_uris,omitempty"`
	Roles        []string `yaml:"roles,omitempty" json:"roles,omitempty"`
	Scopes       []string `yaml:"scopes,omitempty" json:"scopes,omitempty"`
}

// Databases names the servers that databases are made on.
type Databases struct {
	Postgres *DatabaseServer `yaml:"postgres,omitempty" json:"postgres,omitempty"`
}

// DatabaseServer is a server that runs already.
type DatabaseServer struct {
	// URL of a login that may create schemas and roles.
	URL string `yaml:"url" json:"url"`
}

// Kind is what a service is.
type Kind string

// The kinds of service.
const (
	KindService Kind = "service" // listens on a port
	KindWorker  Kind = "worker"  // runs without a port
	KindTask    Kind = "task"    // runs to completion
)

// Auth is what a route asks of a caller.
type Auth string

// The degrees of authentication.
const (
	AuthRequired Auth = "required"
	AuthOptional Auth = "optional"
	AuthNone     Auth = "none"
)

// Service is one mesh.service.yaml, with the workspace's defaults applied.
type Service struct {
	// Version of the manifest format.
	Version int `yaml:"version,omitempty" json:"version,omitempty" jsonschema:"enum=1"`
	// Name of the service: lower-case letters, digits and dashes.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Dir is the service's folder; only for a service written in mesh.yaml.
	Dir string `yaml:"dir,omitempty" json:"dir,omitempty"`
	// Kind is service (listens), worker (no port) or task (runs to completion).
	Kind Kind `yaml:"kind,omitempty" json:"kind,omitempty" jsonschema:"enum=service,enum=worker,enum=task"`

	// Go package to build and run, relative to the service's folder.
	Go string `yaml:"go,omitempty" json:"go,omitempty"`
	// Build command, run before the service starts and after each change. It is
	// expanded like env.
	Build Command `yaml:"build,omitempty" json:"build,omitempty"`
	// Run is the command that is the service. It is expanded like env.
	Run Command `yaml:"run,omitempty" json:"run,omitempty"`
	// Image to run as a container.
	Image string `yaml:"image,omitempty" json:"image,omitempty"`
	// Dockerfile to build and run as a container.
	Dockerfile string `yaml:"dockerfile,omitempty" json:"dockerfile,omitempty"`
	// URL of a service that runs elsewhere.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// Driver runs the service as a process or as a container.
	Driver string `yaml:"driver,omitempty" json:"driver,omitempty" jsonschema:"enum=process,enum=container"`

	// Env adds variables; ${NAME} and ${NAME:-default} are expanded, and $$ is a
	// dollar sign.
	Env map[string]string `yaml:"env,omitempty" json:"env,omitempty"`
	// EnvFile names files of variables, read after .env of the workspace and of the service; an empty list: not even those.
	EnvFile Strings `yaml:"env_file,omitempty" json:"env_file,omitzero"`
	// EnvFromHost names variables of mesh's own environment to pass on.
	EnvFromHost []string `yaml:"env_from_host,omitempty" json:"env_from_host,omitempty"`

	// Port is a fixed port that mesh keeps, whatever instance answers.
	Port int `yaml:"port,omitempty" json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// Ports are more ports: a name to the variable that tells the number.
	Ports map[string]Port `yaml:"ports,omitempty" json:"ports,omitempty"`
	// Protocol spoken on the port.
	Protocol string `yaml:"protocol,omitempty" json:"protocol,omitempty" jsonschema:"enum=auto,enum=http1,enum=h2c,enum=tcp"`
	// Volumes of a container.
	Volumes []string `yaml:"volumes,omitempty" json:"volumes,omitempty"`
	// User that a container runs as.
	User string `yaml:"user,omitempty" json:"user,omitempty"`
	// ReadOnly makes a container's root file system read-only.
	ReadOnly *bool `yaml:"read_only,omitempty" json:"read_only,omitempty"`
	// Resources bounds what an instance may use.
	Resources *Resources `yaml:"resources,omitempty" json:"resources,omitempty"`

	// Watch names what to rebuild on: globs, or manual.
	Watch Strings `yaml:"watch,omitempty" json:"watch,omitempty"`
	// Reload is swap (start the new one first), replace (stop the old one first) or self.
	Reload string `yaml:"reload,omitempty" json:"reload,omitempty" jsonschema:"enum=swap,enum=replace,enum=self"`
	// Health is the readiness probe: failing, it takes traffic away.
	Health *Probe `yaml:"health,omitempty" json:"health,omitempty"`
	// Liveness restarts an instance that fails it.
	Liveness *Probe `yaml:"liveness,omitempty" json:"liveness,omitempty"`
	// Replicas is how many instances run; 1 unless given.
	Replicas *int `yaml:"replicas,omitempty" json:"replicas,omitempty" jsonschema:"minimum=0,maximum=100"`
	// Restart says what follows an exit.
	Restart *Restart `yaml:"restart,omitempty" json:"restart,omitempty"`
	// Stop says how an instance is stopped.
	Stop *Stop `yaml:"stop,omitempty" json:"stop,omitempty"`
	// Profiles that the service belongs to; without any it always runs.
	Profiles []string `yaml:"profiles,omitempty" json:"profiles,omitempty"`
	// Owner is the team to ask.
	Owner string `yaml:"owner,omitempty" json:"owner,omitempty"`

	// DependsOn orders the start: a list, or a map to a condition.
	DependsOn Dependencies `yaml:"depends_on,omitempty" json:"depends_on,omitempty"`
	// Calls names the services reached by RPC. It orders nothing.
	Calls []string `yaml:"calls,omitempty" json:"calls,omitempty"`
	// Publishes names the events that this service sends: NAME.EVENT.
	Publishes []string `yaml:"publishes,omitempty" json:"publishes,omitempty"`
	// Consumes names the events of other services that this one receives.
	Consumes []string `yaml:"consumes,omitempty" json:"consumes,omitempty"`
	// Database of this service alone.
	Database *Database `yaml:"database,omitempty" json:"database,omitempty"`
	// References into other services' data: "table.column -> service.table.column".
	References []string `yaml:"references,omitempty" json:"references,omitempty"`
	// Routes that the gateway sends here.
	Routes []Route `yaml:"routes,omitempty" json:"routes,omitempty"`
	// Smoke checks of this service: files relative to its folder.
	Smoke Strings `yaml:"smoke,omitempty" json:"smoke,omitempty"`

	source *source // where it was read, for messages
	base   []any   // path of the service inside source
	faulty bool    // part of it was not understood: what is not there may have been meant
}

// Port is one more port of a service.
type Port struct {
	// Variable that tells the service the number; NAME_PORT unless given.
	Variable string `yaml:"variable,omitempty" json:"variable,omitempty"`
	// Protocol is http or tcp.
	Protocol string `yaml:"protocol,omitempty" json:"protocol,omitempty" jsonschema:"enum=http,enum=tcp"`
	// Container is the port inside a container, where the image fixes it.
	Container int `yaml:"container,omitempty" json:"container,omitempty" jsonschema:"minimum=1,maximum=65535"`
}

// Resources bounds an instance.
type Resources struct {
	// CPUs, in cores.
	CPUs float64 `yaml:"cpus,omitempty" json:"cpus,omitempty" jsonschema:"minimum=0"`
	// Memory, such as 256MiB.
	Memory string `yaml:"memory,omitempty" json:"memory,omitempty"`
}

// Probe asks whether an instance is well. Exactly one of HTTP, GRPC, TCP and
// Command is given.
type Probe struct {
	// HTTP path that answers 200 to 399.
	HTTP string `yaml:"http,omitempty" json:"http,omitempty"`
	// GRPC asks grpc.health.v1 for this service; "" is the server itself.
	GRPC *string `yaml:"grpc,omitempty" json:"grpc,omitempty"`
	// TCP is well when the port accepts.
	TCP bool `yaml:"tcp,omitempty" json:"tcp,omitempty"`
	// Command is well when it exits 0.
	Command Command `yaml:"command,omitempty" json:"command,omitempty"`
	// Interval between two probes; 2s unless given.
	Interval Duration `yaml:"interval,omitempty" json:"interval,omitempty"`
	// Timeout of one probe; 1s unless given.
	Timeout Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
	// Threshold is how many failures in a row make it unwell; 2 unless given.
	Threshold int `yaml:"threshold,omitempty" json:"threshold,omitempty" jsonschema:"minimum=1"`
}

// Restart says what follows an exit.
type Restart struct {
	// Policy is always, on-failure or never.
	Policy string `yaml:"policy,omitempty" json:"policy,omitempty" jsonschema:"enum=always,enum=on-failure,enum=never"`
	// Backoff before the first restart; it doubles each time. 100ms unless given.
	Backoff Duration `yaml:"backoff,omitempty" json:"backoff,omitempty"`
	// MaxBackoff bounds it; 10s unless given.
	MaxBackoff Duration `yaml:"max_backoff,omitempty" json:"max_backoff,omitempty"`
	// Limit is how many starts within Window are too many; 5 unless given.
	Limit int `yaml:"limit,omitempty" json:"limit,omitempty" jsonschema:"minimum=1"`
	// Window of the limit; 10s unless given.
	Window Duration `yaml:"window,omitempty" json:"window,omitempty"`
}

// Stop says how an instance is stopped.
type Stop struct {
	// Signal that asks it to stop; SIGTERM unless given.
	Signal string `yaml:"signal,omitempty" json:"signal,omitempty" jsonschema:"enum=SIGTERM,enum=SIGINT,enum=SIGQUIT,enum=SIGHUP,enum=SIGUSR1,enum=SIGUSR2,enum=SIGKILL"`
	// Grace before it is killed; 10s unless given.
	Grace Duration `yaml:"grace,omitempty" json:"grace,omitempty"`
	// Drain is how long a stream may go on in a reload; 5s unless given.
	Drain Duration `yaml:"drain,omitempty" json:"drain,omitempty"`
}

// Database is a service's own database.
type Database struct {
	// Engine is sqlite or postgres.
	Engine string `yaml:"engine" json:"engine" jsonschema:"enum=sqlite,enum=postgres"`
	// URL of a PostgreSQL server for this service alone; databases.postgres.url unless given.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
}

// Route sends requests of the gateway to the service, to files, or, in mesh.yaml, to
// a URL outside of the workspace.
type Route struct {
	// Static is a folder, or with path a file, to serve instead; relative to the service's folder, in mesh.yaml to the workspace.
	Static string `yaml:"static,omitempty" json:"static,omitempty"`
	// SPA answers with the folder's index.html where there is no file: a single-page app goes there itself.
	SPA bool `yaml:"spa,omitempty" json:"spa,omitempty"`
	// URL to send requests to instead, http://host:port or https://host; only in mesh.yaml.
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	// Host that the request names; any unless given.
	Host string `yaml:"host,omitempty" json:"host,omitempty"`
	// Path that matches exactly.
	Path string `yaml:"path,omitempty" json:"path,omitempty"`
	// Prefix of the path.
	Prefix string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	// Methods that match; any unless given. Not beside static.
	Methods []string `yaml:"methods,omitempty" json:"methods,omitempty"`
	// Headers that must have these values.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Auth is required, optional or none; the gateway's unless given.
	Auth Auth `yaml:"auth,omitempty" json:"auth,omitempty" jsonschema:"enum=required,enum=optional,enum=none"`
	// Roles of which the caller needs one.
	Roles []string `yaml:"roles,omitempty" json:"roles,omitempty"`
	// Scopes that the caller needs, all of them.
	Scopes []string `yaml:"scopes,omitempty" json:"scopes,omitempty"`
	// Timeout of a request; none unless given.
	Timeout Duration `yaml:"timeout,omitempty" json:"timeout,omitempty"`
	// StripPrefix removes the prefix from the path that the service sees: the same as rewrite: /.
	StripPrefix bool `yaml:"strip_prefix,omitempty" json:"strip_prefix,omitempty"`
	// Rewrite is a path that takes the place of the prefix in the path that the service sees.
	Rewrite string `yaml:"rewrite,omitempty" json:"rewrite,omitempty"`
	// CORS of this route; that of the gateway unless given.
	CORS *CORS `yaml:"cors,omitempty" json:"cors,omitempty"`
	// RateLimit; that of the gateway unless given.
	RateLimit *RateLimit `yaml:"rate_limit,omitempty" json:"rate_limit,omitempty"`
	// Retries; those of the gateway unless given. Not beside static.
	Retries *Retries `yaml:"retries,omitempty" json:"retries,omitempty"`
	// BodyLimit in bytes; none unless given.
	BodyLimit int64 `yaml:"body_limit,omitempty" json:"body_limit,omitempty" jsonschema:"minimum=1"`

	Position string `yaml:"-" json:"-"` // file:line:column
}

// Condition is what a dependency must have reached.
type Condition string

// The conditions of depends_on.
const (
	Started   Condition = "started"
	Healthy   Condition = "healthy"
	Completed Condition = "completed"
)

// Dependencies maps a service to the condition it must have reached first.
type Dependencies map[string]Condition

// Strings is one string or a list of them.
type Strings []string

// Command is a program with its arguments, or one line for the shell.
type Command struct {
	Args  []string // program and arguments
	Shell string   // a line for sh -c; Args is empty then
}

// Empty reports that there is no command.
func (c Command) Empty() bool { return len(c.Args) == 0 && c.Shell == "" }

// IsZero is for the YAML encoder.
func (c Command) IsZero() bool { return c.Empty() }

// Argv is the command as the operating system takes it.
func (c Command) Argv() []string {
	if c.Shell != "" {
		return []string{"sh", "-c", c.Shell}
	}
	return c.Args
}

// Duration is a time.Duration written as in Go: 500ms, 2s, 1m30s.
type Duration time.Duration

// Or is the duration, or fallback when none was given.
func (d Duration) Or(fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return time.Duration(d)
}
