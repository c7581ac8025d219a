package devtelemetry

import (
	"cmp"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// MetricsHandler serves /metrics in Prometheus' text format: mesh's own
// counters, and the newest value of what the services sent.
func (s *Store) MetricsHandler() http.Handler {
	return notForPages(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		var b strings.Builder
		s.writeOwn(&b)
		s.requests.write(&b)
		s.metrics.write(&b)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = io.WriteString(w, b.String())
	}))
}

// writeOwn appends what the store counts about itself.
func (s *Store) writeOwn(b *strings.Builder) {
	stats := s.Stats()
	own := func(name, typ, help string, value float64) {
		head(b, name, typ, help)
		sample(b, name, nil, value)
	}
	own("mesh_telemetry_traces", "gauge", "Traces that are kept.", float64(stats.Traces))
	own("mesh_telemetry_trace_bytes", "gauge", "Memory of the traces that are kept, roughly.", float64(stats.Bytes))
	own("mesh_telemetry_series", "gauge", "Metric series that are kept.", float64(stats.Series))
	own("mesh_telemetry_dropped_total", "counter", "What a bound refused: spans, series, log records, requests of mesh's own.", float64(stats.Dropped))
	head(b, "mesh_telemetry_received_total", "counter", "What was received.")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(s.counted.received), func(a, b received) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.service, b.service))
	}) {
		sample(b, "mesh_telemetry_received_total", []label{{"kind", key.kind}, {"service", key.service}}, float64(*s.counted.received[key]))
	}
}

func (m *metrics) write(b *strings.Builder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := ""
	for _, key := range slices.SortedFunc(maps.Keys(m.series), func(a, b seriesKey) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.labels, b.labels))
	}) {
		if k := m.kinds[key.name]; key.name != last {
			head(b, key.name, k.prometheus, k.help)
			last = key.name
		}
		m.series[key].write(b, key.name, m.kinds[key.name].prometheus)
	}
}

func (s *series) write(b *strings.Builder, name, typ string) {
	if typ != "histogram" {
		sample(b, name, s.labels, s.value)
		return
	}
	sum := uint64(0)
	for i, bound := range s.bounds {
		if i < len(s.counts) {
			sum += s.counts[i]
		}
		sample(b, name+"_bucket", append(slices.Clone(s.labels), label{"le", number(bound)}), float64(sum))
	}
	sample(b, name+"_bucket", append(slices.Clone(s.labels), label{"le", "+Inf"}), float64(s.count))
	sample(b, name+"_sum", s.labels, s.value)
	sample(b, name+"_count", s.labels, float64(s.count))
}

func head(b *strings.Builder, name, typ, help string) {
	if help != "" {
		b.WriteString("# HELP " + name + " " + strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(help) + "\n")
	}
	b.WriteString("# TYPE " + name + " " + typ + "\n")
}

func sample(b *strings.Builder, name string, labels []label, value float64) {
	b.WriteString(name)
	b.WriteString(renderLabels(labels))
	b.WriteByte(' ')
	b.WriteString(number(value))
	b.WriteByte('\n')
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func renderLabels(labels []label) string {
	if len(labels) == 0 {
		return ""
	}
	escape := strings.NewReplacer("\\", `\\`, `"`, `\"`, "\n", `\n`)
	var b strings.Builder
	for i, l := range labels {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(l.name + `="` + escape.Replace(l.value) + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

// sanitize makes a name of letters, digits and underscores. le is what
// buckets are labelled with, and no attribute's.
func sanitize(name string) string {
	clean := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}
	name = strings.Map(clean, cut(name))
	if name == "" || name[0] >= '0' && name[0] <= '9' || name == "le" || strings.HasPrefix(name, "__") {
		return "_" + strings.TrimLeft(name, "_")
	}
	return name
}

// prometheusName adds the unit, as the OpenTelemetry specification says
// ("Prometheus compatibility").
func prometheusName(name, unit string) string {
	name = sanitize(name)
	switch unit {
	case "s":
		return withSuffix(name, "_seconds")
	case "ms":
		return withSuffix(name, "_milliseconds")
	case "By":
		return withSuffix(name, "_bytes")
	}
	return name
}

func withSuffix(name, suffix string) string {
	if strings.HasSuffix(name, suffix) {
		return name
	}
	return name + suffix
}
