package devregistry

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Handler serves Consul's HTTP API, version 1
// (https://developer.hashicorp.com/consul/api-docs). The caller's server checks
// the Host header, since the registry does not know its own address, and ends the
// requests' contexts when it stops: a blocking query lasts until then.
func (r *Registry) Handler() http.Handler {
	mux := http.NewServeMux()
	methods := map[string]map[string]handler{} // by path
	routes := r.routes()
	for pattern, what := range nameless() {
		routes[pattern] = func(*call) (any, error) { return nil, fail(http.StatusBadRequest, "Missing %s", what) }
	}
	for pattern, h := range routes {
		method, path, _ := strings.Cut(pattern, " ")
		if methods[path] == nil {
			methods[path] = map[string]handler{}
		}
		methods[path][method] = h
	}
	for path, of := range methods {
		mux.Handle(path, r.endpoint(of))
	}
	keys := r.endpoint(methods[keyPath])
	for area, reason := range absent() {
		mux.Handle(area, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			writeError(w, fail(http.StatusNotImplemented, "%s is not implemented by mesh's registry: %s", req.URL.Path, reason))
		}))
	}
	mux.Handle("/", http.HandlerFunc(noSuchEndpoint))
	return notForPages(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// A key may hold // and .. which the mux would redirect.
		if key, ok := strings.CutPrefix(req.URL.Path, "/v1/kv/"); ok {
			req.SetPathValue("key", key)
			keys.ServeHTTP(w, req)
			return
		}
		mux.ServeHTTP(w, req)
	}))
}

// notForPages refuses what a page of another origin has a browser send. Nobody is
// asked for a token here: such a page could register itself as a service.
func notForPages(h http.Handler) http.Handler {
	browsers := http.NewCrossOriginProtection()
	browsers.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, fail(http.StatusForbidden, "a page of another origin may not send this"))
	}))
	return browsers.Handler(h)
}

const keyPath = "/v1/kv/{key...}"

// endpoint answers the methods of one path. The mux's own method patterns would
// answer another method with another path's handler (/service/{id} for
// /service/register).
func (r *Registry) endpoint(methods map[string]handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		method := req.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		h, ok := methods[method]
		if !ok {
			w.Header().Set("Allow", strings.Join(append([]string{http.MethodOptions}, slices.Sorted(maps.Keys(methods))...), ","))
			if method == http.MethodOptions {
				return
			}
			writeError(w, fail(http.StatusMethodNotAllowed, "method %s not allowed", req.Method))
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, maxBody)
		c := &call{Request: req, w: w, q: req.URL.Query()}
		if err := r.answer(c, h); err != nil {
			writeError(w, err)
		}
	})
}

// answer calls a handler, lays the filter over what it gave, and sends that.
func (r *Registry) answer(c *call, h handler) error {
	if dc := c.q.Get("dc"); dc != "" && dc != datacenter {
		return fail(http.StatusInternalServerError, "No path to datacenter")
	}
	f, err := newFilter(c.q.Get("filter"))
	if err != nil {
		return err
	}
	value, err := h(c)
	if err != nil || value == nil {
		return err
	}
	body, err := r.render(c, f, value)
	if err == nil {
		body.write(c.w)
	}
	return err
}

// render makes JSON of what a handler gave. What is shared is made once.
func (r *Registry) render(c *call, f *filter, value any) (body rendered, err error) {
	switch v := value.(type) {
	case *shared:
		select {
		case <-v.made: // soon: its maker waits for nobody
			return v.body, v.err
		case <-c.Context().Done():
			return nil, c.Context().Err()
		}
	case watched:
		body, err = nil, fail(http.StatusInternalServerError, "the answer could not be made")
		defer func() { r.kept.put(v.share, body, err) }()
		value = v.value
	}
	sifted, err := f.sift(value)
	if err != nil {
		return nil, err
	}
	return marshal(c, sifted)
}

// rendered is an answer as JSON.
type rendered []byte

func marshal(c *call, value any) (rendered, error) {
	if c.has("pretty") {
		return json.MarshalIndent(value, "", "    ")
	}
	return json.Marshal(value)
}

func (b rendered) write(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Length"] = []string{strconv.Itoa(len(b))} // or it is sent in chunks
	h["Content-Type"] = []string{"application/json"}
	h["Vary"] = []string{"Accept-Encoding"}
	_, _ = w.Write(b)
}

// writeError sends an error as Consul does, in plain text.
func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if chosen, ok := errors.AsType[*statusError](err); ok {
		status = chosen.status
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, err.Error())
}

func noSuchEndpoint(w http.ResponseWriter, req *http.Request) {
	writeError(w, fail(http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint: %s", req.URL.Path))
}
