package devtelemetry

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is a request that passed mesh's gateway or one of its links.
type Request struct {
	TraceID, SpanID, ParentID string
	Caller, Callee            string
	Name                      string // of the span: the route, or the method and path
	Status                    int
	Error                     bool
	Message                   string
	Start                     time.Time
	Duration                  time.Duration
	Target
}

// Target is what a request asked for, and of whom. It becomes the attributes of its
// span (OpenTelemetry's semantic conventions for HTTP) when that is read: most are not.
type Target struct{ Method, Path, Instance string }

func (t Target) attributes() map[string]string {
	all := map[string]string{"http.request.method": t.Method, "url.path": t.Path, "service.instance.id": t.Instance}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return all
}

// gatewayService is the service of mesh's own spans.
const gatewayService = "gateway"

// Record keeps a span of mesh's own for a request, and counts it on its edge.
func (s *Store) Record(r Request) {
	s.requests.count(&r)
	s.add([]Span{{
		TraceID: r.TraceID, SpanID: r.SpanID, ParentID: r.ParentID, Service: gatewayService, Name: cut(r.Name), Kind: "server",
		Start: r.Start, End: r.Start.Add(r.Duration), Error: r.Error, Message: cut(r.Message), target: r.Target,
	}})
}

// edge is a caller, a callee and the status of the answer.
type edge struct {
	caller, callee string
	status         int
}

type edgeStats struct {
	count   uint64
	seconds float64
	buckets [len(bounds)]uint64 // not cumulative
}

// bounds are Prometheus' default buckets, in seconds.
var bounds = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// maxEdges bounds the edges: callers and callees are services of manifests, so
// only a mistake comes near.
const maxEdges = 10_000

type requests struct {
	mu      sync.Mutex
	edges   map[edge]*edgeStats
	dropped uint64
}

func (q *requests) count(r *Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := edge{r.Caller, r.Callee, r.Status}
	e := q.edges[key]
	if e == nil {
		if len(q.edges) >= maxEdges {
			q.dropped++
			return
		}
		e = &edgeStats{}
		q.edges[key] = e
	}
	seconds := r.Duration.Seconds()
	e.count++
	e.seconds += seconds
	for i, bound := range bounds {
		if seconds <= bound {
			e.buckets[i]++
			break
		}
	}
}

// refused is how many requests were on edges over the bound.
func (q *requests) refused() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// write appends the edges in Prometheus' text format.
func (q *requests) write(b *strings.Builder) {
	q.mu.Lock()
	defer q.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(q.edges), func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.caller, b.caller), cmp.Compare(a.callee, b.callee), cmp.Compare(a.status, b.status))
	})
	b.WriteString("# HELP mesh_request_duration_seconds Requests through mesh's gateway and links.\n# TYPE mesh_request_duration_seconds histogram\n")
	for _, key := range keys {
		e := q.edges[key]
		labels := []label{{"caller", key.caller}, {"callee", key.callee}, {"code", strconv.Itoa(key.status)}}
		sum := uint64(0)
		for i, bound := range bounds {
			sum += e.buckets[i]
			sample(b, "mesh_request_duration_seconds_bucket", append(labels, label{"le", number(bound)}), float64(sum))
		}
		sample(b, "mesh_request_duration_seconds_bucket", append(labels, label{"le", "+Inf"}), float64(e.count))
		sample(b, "mesh_request_duration_seconds_sum", labels, e.seconds)
		sample(b, "mesh_request_duration_seconds_count", labels, float64(e.count))
	}
}
