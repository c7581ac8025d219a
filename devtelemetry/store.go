package devtelemetry

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Config bounds what a store keeps. Zero means the default.
type Config struct {
	MaxTraces int   // 2000
	MaxBytes  int64 // of spans, roughly: 64 MiB
	MaxSeries int   // of metrics that were received: 20,000
	MaxLogs   int   // 5000
}

// maxSpans bounds one trace: a loop that never ends its trace costs only its
// own later spans.
const maxSpans = 2000

// Span is a span as it is kept. Attributes are text, and long ones are cut.
type Span struct {
	TraceID    string            `json:"trace_id"`
	SpanID     string            `json:"span_id"`
	ParentID   string            `json:"parent_id,omitempty"`
	Service    string            `json:"service"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind"`
	Start      time.Time         `json:"start"`
	End        time.Time         `json:"end"`
	Error      bool              `json:"error,omitempty"`
	Message    string            `json:"message,omitempty"` // of an error
	Attributes map[string]string `json:"attributes,omitempty"`

	target Target // of mesh's own, in place of Attributes until it is read
}

// size is about what a span costs in memory.
func (s *Span) size() int64 {
	n := 300 + len(s.TraceID) + len(s.Name) + len(s.Service) + len(s.Message) + len(s.target.Method) + len(s.target.Path) + len(s.target.Instance)
	for k, v := range s.Attributes {
		n += 48 + len(k) + len(v)
	}
	return int64(n)
}

// trace is the spans of one trace that arrived so far.
type trace struct {
	id    string
	spans []Span // in one, as long as there is only that
	one   [1]Span
	bytes int64
}

// Store keeps telemetry. Its methods may be called from many goroutines at
// once; none of them waits for anything but the others.
type Store struct {
	config Config

	mu      sync.Mutex
	traces  map[string]*trace
	order   []*trace // by arrival of the first span: the first is the oldest
	bytes   int64
	logs    ring[LogRecord]
	counted counters

	metrics  metrics
	requests requests
}

// New returns an empty store.
func New(c Config) *Store {
	c.MaxTraces = cmp.Or(c.MaxTraces, 2000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 64<<20)
	c.MaxSeries = cmp.Or(c.MaxSeries, 20_000)
	c.MaxLogs = cmp.Or(c.MaxLogs, 5000)
	return &Store{
		config:   c,
		traces:   make(map[string]*trace),
		logs:     ring[LogRecord]{bound: c.MaxLogs},
		metrics:  metrics{bound: c.MaxSeries, series: make(map[seriesKey]*series), kinds: make(map[string]kind)},
		requests: requests{edges: make(map[edge]*edgeStats)},
		counted:  counters{received: make(map[received]*uint64)},
	}
}

// add keeps spans, and drops the oldest traces when there are too many.
func (s *Store) add(spans []Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range spans {
		s.counted.add("spans", span.Service, 1)
		t := s.traces[span.TraceID]
		if t == nil {
			t = &trace{id: span.TraceID}
			t.spans = t.one[:0]
			s.traces[span.TraceID] = t
			s.order = append(s.order, t)
		}
		if len(t.spans) >= maxSpans {
			s.counted.dropped++
			continue
		}
		t.spans = append(t.spans, span)
		t.bytes += span.size()
		s.bytes += span.size()
	}
	s.evict()
}

func (s *Store) evict() {
	for len(s.order) > s.config.MaxTraces || s.bytes > s.config.MaxBytes && len(s.order) > 0 {
		oldest := s.order[0]
		s.order[0] = nil // the array is shared until append grows it
		s.order = s.order[1:]
		s.bytes -= oldest.bytes
		delete(s.traces, oldest.id)
	}
}

// Trace returns the spans of a trace by their start, and whether there is
// such a trace.
func (s *Store) Trace(id string) (spans []Span, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.traces[id]
	if !ok {
		return nil, false
	}
	spans = slices.Clone(t.spans)
	for i := range spans {
		if spans[i].target != (Target{}) {
			spans[i].Attributes = spans[i].target.attributes()
		}
	}
	slices.SortStableFunc(spans, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return spans, true
}

// Query says which traces are wanted. Zero fields want nothing.
type Query struct {
	Service     string // that took part
	MinDuration time.Duration
	Errors      bool
	Since       time.Time
	Limit       int // zero: 100
}

// TraceSummary is a trace in one line.
type TraceSummary struct {
	TraceID  string        `json:"trace_id"`
	Name     string        `json:"name"`    // of the root span, or of the earliest one that is there
	Service  string        `json:"service"` // its service
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"-"`
	Seconds  float64       `json:"duration"`
	Spans    int           `json:"spans"`
	Errors   int           `json:"errors"`
	Services []string      `json:"services"`
}

// Traces returns the newest traces that a query wants, the newest first.
func (s *Store) Traces(q Query) []TraceSummary {
	limit := cmp.Or(q.Limit, 100)
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []TraceSummary{}
	for i := len(s.order) - 1; i >= 0 && len(found) < limit; i-- {
		if sum := s.order[i].summary(); q.wants(&sum) {
			found = append(found, sum)
		}
	}
	return found
}

func (q *Query) wants(t *TraceSummary) bool {
	return (q.Service == "" || slices.Contains(t.Services, q.Service)) && t.Duration >= q.MinDuration &&
		(!q.Errors || t.Errors > 0) && !t.Start.Before(q.Since)
}

func (t *trace) summary() TraceSummary {
	root := &t.spans[0]
	end := root.End
	sum := TraceSummary{TraceID: t.id, Spans: len(t.spans)}
	for i := range t.spans {
		span := &t.spans[i]
		if (span.ParentID == "") != (root.ParentID == "") && span.ParentID == "" || (span.ParentID == "") == (root.ParentID == "") && span.Start.Before(root.Start) {
			root = span
		}
		if span.End.After(end) {
			end = span.End
		}
		if sum.Start.IsZero() || span.Start.Before(sum.Start) {
			sum.Start = span.Start
		}
		if span.Error {
			sum.Errors++
		}
		if !slices.Contains(sum.Services, span.Service) {
			sum.Services = append(sum.Services, span.Service)
		}
	}
	slices.Sort(sum.Services)
	sum.Name, sum.Service, sum.Duration = root.Name, root.Service, end.Sub(sum.Start)
	sum.Seconds = sum.Duration.Seconds()
	return sum
}

// Stats is what a store holds and has seen.
type Stats struct {
	Traces  int               `json:"traces"`
	Bytes   int64             `json:"bytes"`
	Series  int               `json:"series"`
	Logs    int               `json:"logs"`
	Spans   map[string]uint64 `json:"spans_received"` // by service
	Dropped uint64            `json:"dropped"`        // spans, series, log records and requests over a bound
}

// Stats reports on the store.
func (s *Store) Stats() Stats {
	series, droppedSeries := s.metrics.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{
		Traces: len(s.order), Bytes: s.bytes, Series: series, Logs: len(s.logs.items),
		Spans: make(map[string]uint64), Dropped: s.counted.dropped + droppedSeries + s.requests.refused(),
	}
	for key, n := range s.counted.received {
		if key.kind == "spans" {
			stats.Spans[key.service] += *n
		}
	}
	return stats
}

// counters counts what arrived.
type counters struct {
	received map[received]*uint64
	dropped  uint64
}

type received struct{ kind, service string }

// maxCounted bounds the services that are counted apart.
const maxCounted = 1000

func (c *counters) add(kind, service string, n uint64) {
	sum := c.received[received{kind, service}]
	if sum == nil {
		sum = c.begin(received{kind, service})
	}
	*sum += n
}

func (c *counters) begin(key received) *uint64 {
	if len(c.received) >= maxCounted {
		key.service = "other"
	}
	if c.received[key] == nil {
		c.received[key] = new(uint64)
	}
	return c.received[key]
}

// ring keeps the newest items up to its bound.
type ring[T any] struct {
	bound, next int
	items       []T
}

func (r *ring[T]) add(item T) {
	if len(r.items) < r.bound {
		r.items = append(r.items, item)
		return
	}
	r.items[r.next] = item
	r.next = (r.next + 1) % r.bound
}

// newest returns up to n items, the newest last.
func (r *ring[T]) newest(n int) []T {
	all := append(slices.Clone(r.items[r.next:]), r.items[:r.next]...)
	return all[max(0, len(all)-n):]
}
