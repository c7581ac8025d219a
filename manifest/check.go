package manifest

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/internal/oidc"
)

var (
	namePattern      = lazyregexp.New(`^[a-z][a-z0-9-]{0,39}$`)
	eventPattern     = lazyregexp.New(`^[a-z][a-z0-9-]*(\.[a-z0-9_-]+)+$`)
	referencePattern = lazyregexp.New(`^\s*[\w]+\.[\w]+\s*->\s*([a-z][a-z0-9-]*)\.[\w]+\.[\w]+\s*$`)
	variablePattern  = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// ValidName reports whether name may be the name of a service.
func ValidName(name string) bool { return namePattern().MatchString(name) }

// CheckAddress reports why the gateway cannot listen at an address. Port 0 is a
// free one.
func CheckAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address: write it as %s", address, DefaultGateway)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is no address: a port is a number up to 65535; write it as %s", address, DefaultGateway)
	}
	return nil
}

// check finds what the schema cannot say: names, graph and clashes.
func (l *loader) check() {
	if l.doc.Name != "" && !ValidName(l.ws.Name) {
		l.problems = append(l.problems, l.source.problem([]any{"name"}, "%q is no name: lower-case letters, digits and dashes, at most 40, starting with a letter", l.ws.Name))
	}
	if l.ws.Gateway.Address == "" {
		l.ws.Gateway.Address = DefaultGateway
	}
	if err := CheckAddress(l.ws.Gateway.Address); err != nil {
		l.problems = append(l.problems, l.source.problem([]any{"gateway", "address"}, "%v", err))
	}
	for i, host := range l.ws.Gateway.Hosts {
		if fault := hostFault(host); fault != "" {
			l.problems = append(l.problems, l.source.problem([]any{"gateway", "hosts", i}, "%q is no host: %s", host, fault))
		}
	}
	l.checkIdentity()
	l.checkCORS(l.source, []any{"gateway", "cors"}, l.ws.Gateway.CORS)
	l.rateLimit(l.source, []any{"gateway", "rate_limit"}, l.ws.Gateway.RateLimit)
	l.checkTLS()
	l.checkOwnRoutes()
	l.ws.Gateway.Retries = l.ws.Gateway.Retries.or(nil)
	l.checkRetries(l.source, []any{"gateway", "retries"}, l.ws.Gateway.Retries)
	l.warnUnused()
	for _, s := range l.ws.Services {
		c := &checker{loader: l, s: s}
		c.check()
	}
	l.checkWork()
	l.checkCycles()
	l.checkRouteClashes()
	l.checkPorts()
}

// rateLimit holds that a limit limits.
func (l *loader) rateLimit(src *source, path []any, r *RateLimit) {
	switch {
	case r == nil:
	case r.Requests < 1:
		l.problems = append(l.problems, src.problem(path, "rate_limit needs requests: how many, at least 1, in the time that per gives"))
	case r.Per < 0:
		l.problems = append(l.problems, src.problem(path, "per is a time: 1s, 1m"))
	}
}

// checkIssuer holds that an issuer is a URL that nobody on the way can answer for
// (OpenID Connect Discovery section 3: https; http for one on this machine).
func (l *loader) checkIssuer() {
	identity := l.ws.Identity
	switch u, err := url.Parse(identity.Issuer); {
	case identity.Issuer == "" && identity.Audience != "":
		l.problems = append(l.problems, l.source.problem([]any{"identity", "audience"}, "audience is for an issuer of your own: the built-in provider's tokens are for the workspace, %q", l.ws.Name))
	case identity.Issuer == "" && identity.RolesClaim != "":
		l.problems = append(l.problems, l.source.problem([]any{"identity", "roles_claim"}, "roles_claim is for an issuer of your own: the built-in provider's tokens have roles"))
	case identity.Issuer == "":
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		l.problems = append(l.problems, l.source.problem([]any{"identity", "issuer"}, "%q is no issuer: write its URL as its tokens do, such as https://id.example.com/realms/shop", identity.Issuer))
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		l.problems = append(l.problems, l.source.problem([]any{"identity", "issuer"}, "%s: an issuer elsewhere is reached by https", identity.Issuer))
	case len(identity.Users) > 0:
		l.ws.Warnings = append(l.ws.Warnings, l.source.problemKey([]any{"identity", "users"}, "users are the built-in provider's: they have no effect beside issuer"))
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (l *loader) checkIdentity() {
	l.checkIssuer()
	seen := map[string]bool{}
	for i, user := range l.ws.Identity.Users {
		at := []any{"identity", "users", i, "name"}
		switch {
		case user.Name == "":
			l.problems = append(l.problems, l.source.problem(at, "a user needs a name"))
		case seen[user.Name]:
			l.problems = append(l.problems, l.source.problem(at, "user %q stands here twice", user.Name))
		default:
			l.plain(at, user.Name)
		}
		seen[user.Name] = true
		for j, role := range user.Roles {
			l.plain([]any{"identity", "users", i, "roles", j}, role)
		}
		l.checkUser(i, user)
	}
	seen = map[string]bool{}
	for i, client := range l.ws.Identity.Clients {
		at := []any{"identity", "clients", i, "id"}
		if seen[client.ID] {
			l.problems = append(l.problems, l.source.problem(at, "client %q stands here twice", client.ID))
		}
		seen[client.ID] = true
		l.plain(at, client.ID)
		l.checkClient(i, client)
	}
}

// checkUser holds a user to claims that tokens can carry, and an e-mail that a header can.
func (l *loader) checkUser(i int, user User) {
	at := []any{"identity", "users", i}
	fail := func(err error, steps ...any) {
		if err != nil {
			l.problems = append(l.problems, l.source.problem(below(at, steps...), "%v", err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(user.Claims)) {
		fail(oidc.CheckClaim(name, user.Claims[name]), "claims", name)
	}
	fail(oidc.CheckClaims(user.Claims), "claims")
	if strings.ContainsFunc(user.Email, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		fail(fmt.Errorf("%q is no e-mail address: it has a space or a control character", user.Email), "email")
	}
	client := slices.ContainsFunc(l.ws.Identity.Clients, func(c Client) bool { return c.ID == user.Name })
	if l.ws.byName[user.Name] != nil || client {
		l.ws.Warnings = append(l.ws.Warnings, l.source.problem(below(at, "name"), "%s is a client, too: a token of its own has the subject that this user's have; give the user another name", user.Name))
	}
}

// checkClient holds a client to redirect URIs that the provider takes, and warns of one
// that cannot be public, since a service has its name.
func (l *loader) checkClient(i int, client Client) {
	for j, uri := range client.RedirectURIs {
		if err := oidc.CheckRedirectURI(uri); err != nil {
			l.problems = append(l.problems, l.source.problem([]any{"identity", "clients", i, "redirect_uris", j}, "%v", err))
		}
	}
	if l.ws.byName[client.ID] != nil && client.Secret == "" && len(client.RedirectURIs) > 0 {
		l.ws.Warnings = append(l.ws.Warnings, l.source.problem([]any{"identity", "clients", i, "id"}, "%s is the client of the service %s, which has a secret: a page in a browser needs a client of another id", client.ID, client.ID))
	}
}

func (l *loader) plain(at []any, name string) {
	if !oidc.PlainName(name) {
		l.problems = append(l.problems, l.source.problem(at, "%q is no name: it has 1 to 200 characters, and no space, comma or control character among them", name))
	}
}

// warnUnused names keys that are accepted and have no effect in this version.
func (l *loader) warnUnused() {
	for _, key := range []string{"alerts", "telemetry"} {
		path := []any{key}
		if l.source.has(path) {
			l.ws.Warnings = append(l.ws.Warnings, l.source.problemKey(path, "%s has no effect in this version of mesh", key))
		}
	}
}

// checker checks one service.
type checker struct {
	*loader
	s *Service
}

func (c *checker) fail(path []any, format string, args ...any) {
	c.problems = append(c.problems, c.s.problem(path, format, args...))
}

// check says of a service with mistakes only what they cannot be the reason of.
func (c *checker) check() {
	if !ValidName(c.s.Name) {
		c.fail([]any{"name"}, "%q is no name for a service: lower-case letters, digits and dashes, at most 40, starting with a letter", c.s.Name)
	}
	if !c.s.faulty {
		c.program()
		c.driver()
	}
	c.kind()
	c.bounds()
	c.probes()
	c.edges()
	c.events()
	c.variables()
	c.routes()
	if !c.s.faulty || len(c.s.base) == 0 { // else its folder may not be understood
		c.files()
	}
}

// kind holds a service to what it is.
func (c *checker) kind() {
	if c.s.Port != 0 && !c.s.Listens() {
		c.fail([]any{"port"}, "a %s has no port: only a service has", c.s.Kind)
	}
	if c.s.Kind == KindTask && c.s.Instances() > 1 {
		c.fail([]any{"replicas"}, "a task runs once: replicas are for a service or a worker")
	}
}

func (c *checker) program() {
	s := c.s
	ways := 0
	for _, given := range []bool{s.Go != "", !s.Run.Empty(), s.Image != "", s.Dockerfile != "", s.URL != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		c.fail(nil, "service %q says nothing to run: give go, run, image, dockerfile or url", s.Name)
	case ways > 1 && s.Image == "" && s.Dockerfile == "":
		c.fail(nil, "service %q says more than one thing to run: give one of go, run, image, dockerfile and url", s.Name)
	}
	if s.Go != "" && !s.Build.Empty() {
		c.fail([]any{"build"}, "build goes with run; a Go package (go: %s) is built by mesh", s.Go)
	}
	if s.URL != "" {
		if _, err := ExternalURL(s.URL); err != nil || !strings.Contains(s.URL, "://") {
			c.fail([]any{"url"}, "%q is no address that mesh can send requests to: write it as http://host:port", s.URL)
		}
		c.warnElsewhere()
	}
}

// warnElsewhere names the keys of a service that runs elsewhere which are about how it
// is run here. What defaults say of all services is left alone.
func (c *checker) warnElsewhere() {
	for _, key := range []string{"build", "driver", "ports", "volumes", "user", "read_only", "resources", "watch", "reload", "liveness", "replicas", "restart", "stop"} {
		path := c.s.path(key)
		if c.s.source.has(path) {
			c.ws.Warnings = append(c.ws.Warnings, c.s.source.problemKey(path, "%s has no effect beside url: the service is not run here", key))
		}
	}
}

func (c *checker) probes() {
	for key, probe := range map[string]*Probe{"health": c.s.Health, "liveness": c.s.Liveness} {
		if probe == nil {
			continue
		}
		ways := 0
		for _, given := range []bool{probe.HTTP != "", probe.GRPC != nil, probe.TCP, !probe.Command.Empty()} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			c.fail([]any{key}, "%s takes exactly one of http, grpc, tcp and command", key)
		}
		if probe.HTTP != "" && !strings.HasPrefix(probe.HTTP, "/") {
			c.fail([]any{key, "http"}, "%q is no path: it starts with /", probe.HTTP)
		}
		if probe.Command.Empty() && !c.s.Listens() {
			c.fail([]any{key}, "a %s has no port to probe: use command", c.s.Kind)
		}
	}
}

func (c *checker) edges() {
	for i, callee := range c.s.Calls {
		c.known([]any{"calls", i}, callee)
		if other := c.ws.byName[callee]; other != nil && !other.Listens() {
			c.fail([]any{"calls", i}, "%s cannot be called: it is a %s, without a port", callee, other.Kind)
		}
		if name := shadowed(callee); name != "" {
			c.fail([]any{"calls", i}, "%s cannot be called by this name: its address would be %s, which mesh itself sets; give the service another name", callee, name)
		}
	}
	for name, condition := range c.s.DependsOn {
		path := c.dependencyPath(name)
		c.known(path, name)
		if !slices.Contains([]Condition{Started, Healthy, Completed}, condition) {
			c.fail(path, "%q is no condition: started, healthy or completed", string(condition))
		}
		if other := c.ws.byName[name]; other != nil && condition == Completed && other.Kind != KindTask && !other.faulty {
			c.fail(path, "%s never completes: it is a %s, not a task", name, other.Kind)
		}
	}
	for i, ref := range c.s.References {
		m := referencePattern().FindStringSubmatch(ref)
		if m == nil {
			c.fail([]any{"references", i}, "%q is no reference: write it as \"carts.user_id -> profile.users.id\"", ref)
			continue
		}
		c.known([]any{"references", i}, m[1])
	}
}

// shadowed is the variable of mesh's own that the address of a callee would have
// as its name; "": none.
func shadowed(callee string) string {
	for _, suffix := range []string{"_URL", "_ADDR"} {
		if name := EnvName(callee) + suffix; name == "NATS_URL" || name == "DATABASE_URL" || name == "CONSUL_HTTP_ADDR" {
			return name
		}
	}
	return ""
}

// dependencyPath finds name in depends_on, written as a list or as a map.
func (c *checker) dependencyPath(name string) []any {
	for i := 0; i < len(c.s.DependsOn); i++ {
		path := []any{"depends_on", i}
		if _, v := c.s.source.find(c.s.path(path...)); v != nil && v.GetToken().Value == name {
			return path
		}
	}
	return []any{"depends_on", name}
}

func (c *checker) known(path []any, name string) {
	if name == c.s.Name {
		c.fail(path, "%s names itself", name)
	} else if c.ws.byName[name] == nil && !c.partial {
		c.fail(path, "%s", (&UnknownService{Name: name, Known: c.ws.Names()}).Error())
	}
}

func (c *checker) events() {
	for i, event := range c.s.Publishes {
		path := []any{"publishes", i}
		if !eventPattern().MatchString(event) {
			c.fail(path, "%q is no event: write it as %s.something_happened", event, c.s.Name)
		} else if Publisher(event) != c.s.Name {
			c.fail(path, "%s may publish only its own events: %s.%s", c.s.Name, c.s.Name, strings.TrimPrefix(event, Publisher(event)+"."))
		}
	}
	for i, event := range c.s.Consumes {
		path := []any{"consumes", i}
		if !eventPattern().MatchString(event) {
			c.fail(path, "%q is no event: write it as service.something_happened", event)
			continue
		}
		publisher := c.ws.byName[Publisher(event)]
		switch {
		case publisher == nil && c.partial, publisher != nil && publisher.faulty:
		case publisher == nil:
			c.fail(path, "nobody publishes %s: %s", event, (&UnknownService{Name: Publisher(event), Known: c.ws.Names()}).Error())
		case !slices.Contains(publisher.Publishes, event):
			c.fail(path, "%s does not publish %s; it publishes %s", publisher.Name, event, orNothing(publisher.Publishes))
		}
	}
}

func orNothing(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func (c *checker) variables() {
	for name := range c.s.Env {
		if !variablePattern().MatchString(name) {
			c.fail([]any{"env", name}, "%q is no name of a variable", name)
		}
	}
	for name, text := range c.s.Env {
		if err := checkExpansion(text); err != nil {
			c.fail([]any{"env", name}, "%v", err)
		}
	}
}

func (l *loader) checkCycles() {
	reported := map[string]bool{}
	for _, s := range l.ws.Services {
		cycle := l.ws.cycle(s.Name, nil)
		if cycle == nil || cycle[0] != s.Name || reported[s.Name] {
			continue
		}
		for _, name := range cycle {
			reported[name] = true
		}
		l.problems = append(l.problems, s.problem([]any{"depends_on"}, "depends_on goes in a circle: %s; if one only calls another, say calls", strings.Join(cycle, " -> ")))
	}
}

func (l *loader) checkPorts() {
	taken := map[int]*Service{}
	_, gateway, _ := net.SplitHostPort(l.ws.Gateway.Address) // one that is none is told elsewhere
	for _, s := range l.ws.Services {
		if s.Port == 0 {
			continue
		}
		if gateway == strconv.Itoa(s.Port) && s.KeepsPort() {
			l.problems = append(l.problems, s.problem([]any{"port"}, "port %d is the gateway's: give the service another, or none, or move the gateway (gateway.address in %s)", s.Port, WorkspaceFile))
		}
		if other := taken[s.Port]; other != nil {
			l.problems = append(l.problems, s.problem([]any{"port"}, "port %d is kept for %s already, at %s", s.Port, other.Name, other.source.position(other.path("port"))))
		}
		taken[s.Port] = s
	}
}
