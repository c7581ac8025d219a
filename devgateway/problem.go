package devgateway

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// problem is an answer of the gateway's own that is an error.
type problem struct {
	status  int
	cause   string // in a few words that the sender may read
	service string // the service that it is about, if any
	code    string // of a challenge (RFC 6750 section 3.1)
	allow   string // methods, for a 405
	retry   int    // seconds
}

// problemBody is RFC 9457, with the service and the trace as extensions.
type problemBody struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail,omitempty"`
	Service string `json:"service,omitempty"`
	TraceID string `json:"trace_id,omitempty"`
}

// write sends the problem in the form that the request can read: as a gRPC
// status if it is a gRPC call, as problem JSON otherwise.
func (p *problem) write(w http.ResponseWriter, r *http.Request, x *exchange) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.status == http.StatusUnauthorized || p.code != "" {
		h.Set("WWW-Authenticate", x.challenge(p))
	}
	if isGRPC(r.Header) {
		kind := r.Header.Get("Content-Type")
		if x.web != nil {
			kind = x.web.kind
		}
		p.writeGRPC(w, kind)
		return
	}
	body, _ := json.Marshal(problemBody{ // strings and a number cannot fail
		Type: "about:blank", Title: p.title(), Status: p.status,
		Detail: p.cause, Service: p.service, TraceID: x.trace.idText(),
	})
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.status)
	_, _ = w.Write(append(body, '\n'))
}

func (p *problem) title() string {
	if p.status == statusClientClosed {
		return "Client Closed Request"
	}
	return http.StatusText(p.status)
}

// challenge is RFC 6750 section 3, and names the issuer for a person who
// wonders where to get a token.
func (x *exchange) challenge(p *problem) string {
	c := `Bearer realm="mesh"`
	if issuer := x.g.config.Issuer; issuer != nil {
		c += `, issuer="` + quotable(issuer()) + `"`
	}
	if p.code != "" {
		c += `, error="` + p.code + `", error_description="` + quotable(p.cause) + `"`
	}
	if p.code == "insufficient_scope" && x.route != nil && len(x.route.Scopes) > 0 {
		c += `, scope="` + quotable(strings.Join(x.route.Scopes, " ")) + `"`
	}
	return c
}

// quotable makes text fit between the quotes of a header's parameter.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, s)
}

const grpcUnavailable = "14"

// grpcStatus maps a status as gRPC's clients would; where they know less
// than the gateway, it says what it knows.
func (p *problem) grpcStatus() string {
	switch p.status {
	case http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge:
		return "3" // INVALID_ARGUMENT
	case http.StatusUnauthorized:
		return "16" // UNAUTHENTICATED
	case http.StatusForbidden, http.StatusMisdirectedRequest:
		return "7" // PERMISSION_DENIED
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return "12" // UNIMPLEMENTED
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return "8" // RESOURCE_EXHAUSTED
	case http.StatusGatewayTimeout:
		return "4" // DEADLINE_EXCEEDED
	case statusClientClosed:
		return "1" // CANCELLED
	}
	return grpcUnavailable
}

// writeGRPC answers with a status and nothing else: HTTP 200, and the
// trailers as headers ("Trailers-Only"), which gRPC-Web reads as well.
func (p *problem) writeGRPC(w http.ResponseWriter, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Grpc-Status", p.grpcStatus())
	h.Set("Grpc-Message", url.PathEscape(p.cause))
	w.WriteHeader(http.StatusOK)
}

// isGRPC is true of gRPC and gRPC-Web.
func isGRPC(h http.Header) bool {
	return strings.HasPrefix(h.Get("Content-Type"), "application/grpc")
}
