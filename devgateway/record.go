package devgateway

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"time"
)

// Record is what is known about a request when it is over. It has the ids of
// a span (W3C Trace Context), and no query, header or body: those may hold
// secrets.
type Record struct {
	Start    time.Time     `json:"time"`
	Duration time.Duration `json:"-"`

	Caller   string `json:"caller"` // a service, or "gateway" for requests from outside
	Callee   string `json:"callee,omitempty"`
	Route    string `json:"route,omitempty"` // its path or prefix; empty on a link
	Instance string `json:"instance,omitempty"`
	Retries  int    `json:"retries,omitempty"` // how often it was sent again

	Protocol string `json:"protocol"`
	Method   string `json:"method"`
	Host     string `json:"host"`
	Path     string `json:"path"`
	Status   int    `json:"status"`
	GRPC     string `json:"grpc_status,omitempty"`
	Subject  string `json:"subject,omitempty"`
	Stream   bool   `json:"stream,omitempty"`
	Cause    string `json:"cause,omitempty"` // why the gateway answered itself

	RequestBytes  int64 `json:"request_bytes"` // of the body, if its length was told
	ResponseBytes int64 `json:"response_bytes"`

	TraceID  string `json:"trace_id"`
	SpanID   string `json:"span_id"`
	ParentID string `json:"parent_id,omitempty"`
}

// observe hands out the record of a request that is over.
func (x *exchange) observe(r *http.Request) {
	if x.g.config.Observe == nil {
		return
	}
	record := Record{
		Start: x.start, Duration: time.Since(x.start),
		Caller: x.caller, Callee: x.callee, Protocol: r.Proto, Method: r.Method, Host: r.Host, Path: r.URL.Path,
		Status: x.w.status(), GRPC: x.grpcStatus(), Stream: x.stream, Retries: x.tries,
		RequestBytes: max(r.ContentLength, 0), ResponseBytes: x.w.bytes,
		TraceID: x.trace.idText(), SpanID: x.trace.spanText(), ParentID: x.trace.parentText(),
	}
	if x.route != nil {
		record.Route = x.route.name
	}
	if x.endpoint != nil {
		record.Instance = x.endpoint.ID
	}
	if x.who != nil {
		record.Subject = x.who.Subject
	}
	if x.problem != nil {
		record.Cause = x.problem.cause
	}
	x.g.config.Observe(record)
}

func (x *exchange) grpcStatus() string {
	if x.web != nil && x.web.status != "" {
		return x.web.status
	}
	return grpcStatusOf(x.w.Header())
}

func grpcStatusOf(h http.Header) string {
	if s := h.Get("Grpc-Status"); s != "" {
		return s
	}
	return h.Get(http.TrailerPrefix + "Grpc-Status")
}

// trace is a request's place in a trace (W3C Trace Context): the id that it
// came with or a new one, the caller's span, and the gateway's own.
type trace struct {
	id           [16]byte
	parent, span uint64
	flags        byte
	came         bool   // it came with a valid traceparent
	text         string // as it is sent on; "" until it is asked for
}

func newTrace(h http.Header) trace {
	t, ok := parseTraceparent(h["Traceparent"])
	if !ok {
		t = trace{flags: 1}
		binary.BigEndian.PutUint64(t.id[:8], rand.Uint64())
		binary.BigEndian.PutUint64(t.id[8:], rand.Uint64()|1)
	}
	t.span = rand.Uint64() | 1
	return t
}

// parseTraceparent reads version 00, and of later versions what they have in
// common with it. Anything else starts a new trace.
func parseTraceparent(values []string) (t trace, ok bool) {
	if len(values) != 1 {
		return t, false
	}
	s := values[0]
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || (len(s) > 55 && (s[:2] == "00" || s[55] != '-')) {
		return t, false
	}
	var parent [8]byte
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		from string
	}{{version[:], s[:2]}, {t.id[:], s[3:35]}, {parent[:], s[36:52]}, {flags[:], s[53:55]}} {
		if !decodeLowerHex(part.to, part.from) {
			return trace{}, false
		}
	}
	t.parent, t.flags, t.came = binary.BigEndian.Uint64(parent[:]), flags[0], true
	return t, t.id != [16]byte{} && t.parent != 0
}

func decodeLowerHex(to []byte, from string) bool {
	for i := range len(from) {
		if c := from[i]; 'A' <= c && c <= 'F' {
			return false
		}
	}
	_, err := hex.Decode(to, []byte(from))
	return err == nil
}

// header is the traceparent that a service sees: the gateway's span is its parent.
func (t *trace) header() string {
	if t.text == "" {
		var b [55]byte
		out := hex.AppendEncode(append(b[:0], "00-"...), t.id[:])
		out = hex.AppendEncode(append(out, '-'), binary.BigEndian.AppendUint64(nil, t.span))
		t.text = string(hex.AppendEncode(append(out, '-'), []byte{t.flags & 1}))
	}
	return t.text
}

func (t *trace) idText() string   { return t.header()[3:35] }
func (t *trace) spanText() string { return t.header()[36:52] }

func (t *trace) parentText() string {
	if !t.came {
		return ""
	}
	return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, t.parent))
}

// writer notes what was answered.
type writer struct {
	http.ResponseWriter
	code  int
	bytes int64
	watch *watch // over HTTP/2 from outside; nil: the connection is watched, or nothing is
}

func (w *writer) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.code = code
	} else {
		removeIdentity(w.Header())
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController flush and hijack.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}
