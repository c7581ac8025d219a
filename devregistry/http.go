package devregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody     = 512 << 10 // as in Consul
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

// Handler serves Consul's HTTP API, version 1. The caller's server checks
// the Host header, since the registry does not know its own address, and
// ends the requests' contexts when it stops: a blocking query lasts until
// then.
func (r *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range r.routes() {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(path, only(method, adapt(h)))
	}
	for _, area := range notYet() {
		mux.Handle(area, http.HandlerFunc(notImplemented))
	}
	mux.Handle("/", http.HandlerFunc(noSuchEndpoint))
	return mux
}

func (r *Registry) routes() map[string]handler {
	return map[string]handler{
		"GET /v1/status/leader": r.statusLeader,
		"GET /v1/status/peers":  r.statusPeers,

		"GET /v1/agent/self":                       r.agentSelf,
		"GET /v1/agent/members":                    r.agentMembers,
		"GET /v1/agent/services":                   r.agentServices,
		"GET /v1/agent/checks":                     r.agentChecks,
		"GET /v1/agent/service/{id}":               r.agentService,
		"GET /v1/agent/health/service/id/{id}":     r.agentHealthByID,
		"GET /v1/agent/health/service/name/{name}": r.agentHealthByName,
		"PUT /v1/agent/service/register":           r.registerService,
		"PUT /v1/agent/service/deregister/{id...}": r.deregisterService,
		"PUT /v1/agent/check/register":             r.registerCheck,
		"PUT /v1/agent/check/deregister/{id...}":   r.deregisterCheck,
		"PUT /v1/agent/check/pass/{id...}":         r.reportTTL(statusPassing),
		"PUT /v1/agent/check/warn/{id...}":         r.reportTTL(statusWarning),
		"PUT /v1/agent/check/fail/{id...}":         r.reportTTL(statusCritical),
		"PUT /v1/agent/check/update/{id...}":       r.updateTTL,

		"GET /v1/catalog/datacenters":    r.catalogDatacenters,
		"GET /v1/catalog/nodes":          r.catalogNodes,
		"GET /v1/catalog/services":       r.catalogServices,
		"GET /v1/catalog/service/{name}": r.catalogService,
		"GET /v1/catalog/node/{node}":    r.catalogNode,

		"GET /v1/health/service/{name}": r.healthService,
		"GET /v1/health/checks/{name}":  r.healthChecks,
		"GET /v1/health/node/{node}":    r.healthNode,
		"GET /v1/health/state/{state}":  r.healthState,
	}
}

// notYet lists the parts of Consul's API that exist there and not here.
func notYet() []string {
	return []string{
		"/v1/kv/", "/v1/txn", "/v1/session/", "/v1/query", "/v1/query/", "/v1/event/", "/v1/acl/",
		"/v1/connect/", "/v1/config", "/v1/config/", "/v1/coordinate/", "/v1/operator/", "/v1/snapshot",
		"/v1/agent/service/maintenance/", "/v1/agent/maintenance", "/v1/agent/metrics", "/v1/agent/monitor",
		"/v1/agent/connect/", "/v1/agent/token/", "/v1/agent/reload", "/v1/agent/leave", "/v1/agent/join/",
		"/v1/agent/force-leave/", "/v1/agent/host", "/v1/catalog/register", "/v1/catalog/deregister",
		"/v1/catalog/connect/", "/v1/catalog/node-services/", "/v1/catalog/gateway-services/",
		"/v1/health/connect/", "/v1/health/ingress/", "/v1/discovery-chain/", "/v1/peering", "/v1/peering/",
		"/v1/internal/", "/v1/exported-services", "/v1/imported-services",
	}
}

// handler answers with a value to be sent as JSON, or an error. A nil value
// is an empty 200.
type handler func(http.ResponseWriter, *http.Request) (any, error)

// statusError is an error that chose its HTTP status.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func fail(status int, format string, args ...any) error {
	return &statusError{status, fmt.Sprintf(format, args...)}
}

// adapt turns a handler into an http.Handler. Consul's errors are plain text.
func adapt(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(w, req.Body, maxBody)
		if err := reject(req); err != nil {
			writeError(w, err)
			return
		}
		value, err := h(w, req)
		switch {
		case err != nil:
			writeError(w, err)
		case value != nil:
			writeJSON(w, req, value)
		}
	})
}

// reject refuses the options that would change an answer and are not there.
// Those that only tune a cluster (consistency, dc, near) have no meaning on
// one node, and are passed over.
func reject(req *http.Request) error {
	q := req.URL.Query()
	if q.Get("filter") != "" {
		return fail(http.StatusNotImplemented, "filter expressions are not implemented")
	}
	if dc := q.Get("dc"); dc != "" && dc != datacenter {
		return fail(http.StatusInternalServerError, "No path to datacenter")
	}
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	var chosen *statusError
	status := http.StatusInternalServerError
	if errors.As(err, &chosen) {
		status = chosen.status
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, err.Error())
}

func writeJSON(w http.ResponseWriter, req *http.Request, value any) {
	body, err := json.Marshal(value)
	if req.URL.Query().Has("pretty") {
		body, err = json.MarshalIndent(value, "", "    ")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Vary", "Accept-Encoding")
	_, _ = w.Write(body)
}

// only lets one method through. The mux's own method patterns would answer
// another method with another path's handler (/service/{id} for
// /service/register).
func only(method string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != method && (req.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			writeError(w, fail(http.StatusMethodNotAllowed, "method %s not allowed", req.Method))
			return
		}
		next.ServeHTTP(w, req)
	})
}

func notImplemented(w http.ResponseWriter, req *http.Request) {
	writeError(w, fail(http.StatusNotImplemented, "%s is not implemented by mesh's registry", req.URL.Path))
}

func noSuchEndpoint(w http.ResponseWriter, req *http.Request) {
	writeError(w, fail(http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint: %s", req.URL.Path))
}

// decode reads a JSON body. Like Consul it passes over keys that it does not
// know, and takes keys in any case.
func decode(req *http.Request, into any) error {
	body, err := io.ReadAll(req.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fail(http.StatusRequestEntityTooLarge, "Request body too large, max size: %d bytes", maxBody)
	}
	if err != nil {
		return fail(http.StatusBadRequest, "Request decode failed: %v", err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fail(http.StatusBadRequest, "Request decode failed: %v", err)
	}
	return nil
}

// block holds a blocking query until the index that it watches passes the
// one that the client has seen, its wait is over or the client is gone. It
// sets the headers of every query, blocking or not.
func (r *Registry) block(w http.ResponseWriter, req *http.Request, current func() uint64) error {
	seen, wait, err := blockingOptions(req)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(req.Context(), wait)
	defer cancel()
	index, _ := r.wait(ctx, current, seen+1)
	h := w.Header()
	h.Set("X-Consul-Index", strconv.FormatUint(index, 10))
	h.Set("X-Consul-KnownLeader", "true")
	h.Set("X-Consul-LastContact", "0")
	h.Set("X-Consul-Effective-Consistency", "leader")
	return nil
}

// blockingOptions reads index and wait. Without an index nothing waits. A
// sixteenth is added to the wait, as in Consul, so that clients which started
// together do not come back together.
func blockingOptions(req *http.Request) (seen uint64, wait time.Duration, err error) {
	q := req.URL.Query()
	wait = defaultWait
	if s := q.Get("wait"); s != "" {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 {
			return 0, 0, fail(http.StatusBadRequest, "Invalid wait time")
		}
	}
	if s := q.Get("index"); s != "" {
		if seen, err = strconv.ParseUint(s, 10, 63); err != nil {
			return 0, 0, fail(http.StatusBadRequest, "Invalid index")
		}
	}
	wait = min(max(wait, time.Millisecond), maxWait)
	return seen, wait + rand.N(wait/16+1), nil
}
