package workspace

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/devtelemetry"
	"github.com/ebef7166/mesh/internal/serve"
	"github.com/ebef7166/mesh/manifest"
)

// users are the manifest's, as the identity provider takes them.
func users(m *manifest.Workspace) []devidentity.User {
	out := make([]devidentity.User, len(m.Identity.Users))
	for i, u := range m.Identity.Users {
		out[i] = devidentity.User{Name: u.Name, Email: u.Email, Roles: u.Roles, Claims: u.Claims}
	}
	return out
}

// clients are one for each service and those of the manifest. A client of the
// manifest that is called as a service adds to that service's, whose secret it sets.
func (w *Workspace) clients() []devidentity.Client {
	m := w.Manifest()
	var out []devidentity.Client
	for _, s := range m.Services {
		out = append(out, devidentity.Client{ID: s.Name, Secret: w.clientSecret(s.Name)})
	}
	for _, c := range m.Identity.Clients {
		i := slices.IndexFunc(out, func(o devidentity.Client) bool { return o.ID == c.ID })
		if i < 0 {
			out = append(out, devidentity.Client{ID: c.ID, Secret: c.Secret})
			i = len(out) - 1
		}
		out[i].RedirectURIs, out[i].Roles, out[i].Scopes = c.RedirectURIs, c.Roles, c.Scopes
	}
	return out
}

// clientSecret is that of a service's own client.
func (w *Workspace) clientSecret(service string) string {
	i := slices.IndexFunc(w.Manifest().Identity.Clients, func(c manifest.Client) bool { return c.ID == service && c.Secret != "" })
	if i >= 0 {
		return w.Manifest().Identity.Clients[i].Secret
	}
	return w.state.Secret("oidc/" + service)
}

// brokerUsers are one for each service of the manifest, whether it runs or not:
// its stream must be there for those who consume from it.
func (w *Workspace) brokerUsers() []devbroker.User {
	var out []devbroker.User
	for _, s := range w.Manifest().Services {
		out = append(out, devbroker.User{Name: s.Name, Password: w.brokerPassword(s.Name), Publishes: s.Publishes, Consumes: s.Consumes})
	}
	if w.options.Outside {
		out = append(out, devbroker.User{Name: Outside, Password: w.brokerPassword(Outside), Publishes: w.events(), Outside: true})
	}
	return out
}

// events are all that are published.
func (w *Workspace) events() []string {
	var all []string
	for _, s := range w.Manifest().Services {
		all = append(all, s.Publishes...)
	}
	return all
}

// OutsideEnv is what a command is told that tests the workspace from outside.
func (w *Workspace) OutsideEnv() map[string]string {
	env, m := map[string]string{}, w.told()
	for _, s := range w.running() {
		if addr := w.links.address(Outside, s.Name); addr != "" {
			env[manifest.EnvName(s.Name)+"_URL"] = linkURL(m, s.Name, addr)
		}
	}
	// After the services: one may be called gateway.
	maps.Copy(env, map[string]string{"GATEWAY_URL": w.url("gateway"), "OIDC_ISSUER": w.url("identity"), "OIDC_AUDIENCE": m.TokenAudience(),
		"CONSUL_HTTP_ADDR": hostOf(w.url("registry")), "NATS_URL": w.brokerURL(Outside)})
	if pair, ok := m.KeyPair(); ok {
		env["GATEWAY_CA_FILE"] = pair.Cert
	}
	return env
}

// Problems are what keeps the workspace as a whole from being as it should be,
// in words.
func (w *Workspace) Problems() []string {
	problems := []string{} // an empty list in JSON, too
	if refused := w.refused.Load(); refused != nil {
		line, _, _ := strings.Cut(*refused, "\n")
		problems = append(problems, "the manifests are not applied as they are now: "+line)
	}
	if wrong := w.contracts.Load(); wrong != nil {
		problems = append(problems, *wrong)
	}
	if unread := w.unread.Load(); unread != nil && *unread != nil {
		problems = append(problems, "what runs was not told of what was saved: "+(*unread).Error())
	}
	problems = append(problems, w.fixed(w.Manifest())...)
	problems = append(problems, w.endpoints.strangers(w.running())...)
	if err := w.logs.Err(); err != nil {
		problems = append(problems, "logs are not kept on disk: "+err.Error())
	}
	for _, err := range []error{w.broker.err(), w.registry.Err()} {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	if w.issuer != nil && w.issuer.Err() != nil {
		problems = append(problems, w.issuer.Err().Error())
	}
	problems = append(problems, outlierProblems(w.gateway.Outliers())...)
	return append(problems, w.storms.said()...)
}

// note remembers why the manifests on disk are not applied, and returns err; nil
// when they are.
func (w *Workspace) note(err error) error {
	if err == nil {
		w.refused.Store(nil)
		return nil
	}
	text := err.Error()
	w.refused.Store(&text)
	return err
}

// verifier lets the gateway check tokens without knowing the identity provider.
type verifier struct{ *devidentity.Verifier }

// Verify implements devgateway.TokenVerifier.
func (v verifier) Verify(ctx context.Context, token string) (*devgateway.Identity, error) {
	claims, err := v.Verifier.Verify(ctx, token)
	if errors.Is(err, devidentity.ErrUnavailable) {
		return nil, fmt.Errorf("%w: %w", devgateway.ErrCannotVerify, err)
	}
	if err != nil {
		return nil, err
	}
	return &devgateway.Identity{Subject: claims.Subject, Email: claims.Email, Roles: claims.Roles, Scopes: claims.Scopes}, nil
}

// observe records what passed through the gateway or a link.
func (w *Workspace) observe(r devgateway.Record) {
	w.access.Observe(r)
	name := r.Route
	if name == "" {
		name = r.Method + " " + r.Path
	}
	w.telemetry.Record(devtelemetry.Request{
		TraceID: r.TraceID, SpanID: r.SpanID, ParentID: r.ParentID, Caller: r.Caller, Callee: r.Callee, Name: name,
		Status: r.Status, Error: r.Status >= 500, Message: r.Cause, Start: r.Start, Duration: r.Duration,
		Target: devtelemetry.Target{Method: r.Method, Path: r.Path, Instance: r.Instance},
	})
}

// serveLocal serves HTTP/1.1 and HTTP/2 without TLS until ctx ends. It answers
// only requests that name a loopback address as their host: a page of the web
// that resolves its own name to this machine gets nothing.
func serveLocal(ctx context.Context, ln net.Listener, h http.Handler, idle time.Duration) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return serve.HTTP(ctx, &http.Server{Handler: localOnly(ln.Addr().String(), h), Protocols: &protocols,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idle, MaxHeaderBytes: 32 << 10}, ln)
}

func localOnly(address string, h http.Handler) http.Handler {
	_, port, err := net.SplitHostPort(address)
	allowed := []string{address}
	if err == nil {
		allowed = append(allowed, "localhost:"+port, "127.0.0.1:"+port, "[::1]:"+port)
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !slices.Contains(allowed, strings.ToLower(r.Host)) {
			http.Error(rw, "this address is not served to "+r.Host, http.StatusForbidden)
			return
		}
		h.ServeHTTP(rw, r)
	})
}
