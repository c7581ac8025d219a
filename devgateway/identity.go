package devgateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// isIdentity says whether a canonical header name is one that the gateway
// alone sets: who the caller is, and how the request arrived. Services behind
// other gateways believe names that this one never sets; what would make a
// request into another one than the gateway has looked at is among them.
func isIdentity(name string) bool {
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Original-Host", "X-Original-Uri",
		"Remote-User", "Remote-Email", "Remote-Groups", "Remote-Name", "X-Remote-User",
		"X-Http-Method-Override", "X-Http-Method", "X-Method-Override":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Auth-Request-")
}

// removeIdentity deletes such headers, whatever their spelling; some servers hand
// programs underscores for dashes.
func removeIdentity(h http.Header) {
	for name := range h {
		if len(name) > 8 && mayBeIdentity(name[0]|0x20) && isIdentity(dashed(name)) {
			delete(h, name)
		}
	}
}

// cleanTrailer deletes what must not come behind a body, beside identity: what frames,
// routes or authorises a message (RFC 9110, 6.5.1). Nobody has looked at it there.
func cleanTrailer(h http.Header) {
	removeIdentity(h)
	for name := range h {
		if !httpguts.ValidTrailerHeader(name) {
			delete(h, name)
		}
	}
}

// dashed is a name as a program may see it that asks for its canonical form.
func dashed(name string) string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// mayBeIdentity spares most headers the look at their whole name; first is in
// lower case.
func mayBeIdentity(first byte) bool { return first == 'x' || first == 'f' || first == 'r' }

// authenticate finds out who sends a request, and whether they may.
func (g *Gateway) authenticate(r *http.Request, c *compiled) (*Identity, *problem) {
	if c.Auth == AuthNone {
		return nil, nil
	}
	token, given, p := bearerToken(r.Header)
	switch {
	case p != nil:
		return nil, p
	case !given && c.Auth == AuthOptional && len(c.Roles)+len(c.Scopes) == 0:
		return nil, nil
	case !given:
		return nil, &problem{status: http.StatusUnauthorized, cause: "a token is needed"}
	case g.config.Verifier == nil:
		return nil, &problem{status: http.StatusUnauthorized, cause: "there is no identity provider", code: "invalid_token"}
	}
	id, err := g.config.Verifier.Verify(r.Context(), token)
	if errors.Is(err, ErrCannotVerify) {
		return nil, &problem{status: http.StatusServiceUnavailable, cause: err.Error(), retry: 1}
	}
	if err != nil {
		return nil, &problem{status: http.StatusUnauthorized, cause: err.Error(), code: "invalid_token"}
	}
	if id == nil || !headerSafe(id) {
		return nil, &problem{status: http.StatusUnauthorized, cause: "the token names nobody", code: "invalid_token"}
	}
	return id, authorise(id, c)
}

// bearerToken reads the Authorization header (RFC 6750 section 2.1). Two of
// them would leave it to the service which one it believes.
func bearerToken(h http.Header) (token string, given bool, p *problem) {
	values := h["Authorization"]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", false, &problem{status: http.StatusBadRequest, cause: "more than one Authorization header"}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"): // as if there was none: no code (section 3.1)
		return "", false, &problem{status: http.StatusUnauthorized, cause: "the Authorization header is not a bearer token"}
	case token == "":
		return "", false, &problem{status: http.StatusUnauthorized, cause: "the Authorization header holds no token", code: "invalid_request"}
	}
	return token, true, nil
}

// headerSafe refuses an identity that would not arrive as one header value.
func headerSafe(id *Identity) bool {
	bad := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
	}
	withComma := func(s string) bool { return bad(s) || strings.Contains(s, ",") }
	return id.Subject != "" && !bad(id.Subject) && !bad(id.Email) && !slices.ContainsFunc(id.Roles, withComma)
}

// authorise wants one of the route's roles and all of its scopes.
func authorise(id *Identity, c *compiled) *problem {
	if len(c.Roles) > 0 && !slices.ContainsFunc(c.Roles, func(role string) bool { return slices.Contains(id.Roles, role) }) {
		return &problem{status: http.StatusForbidden, cause: "the route needs one of the roles " + strings.Join(c.Roles, ", "), code: "insufficient_scope"}
	}
	for _, scope := range c.Scopes {
		if !slices.Contains(id.Scopes, scope) {
			return &problem{status: http.StatusForbidden, cause: "the route needs the scope " + scope, code: "insufficient_scope"}
		}
	}
	return nil
}
