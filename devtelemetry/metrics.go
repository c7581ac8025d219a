package devtelemetry

import (
	"slices"
	"strings"
	"sync"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// kind is a metric's name as Prometheus knows it, its type and what it means.
type kind struct{ prometheus, help string }

// seriesKey is a metric and its labels.
type seriesKey struct{ name, labels string }

// series is the newest value of a metric with its labels.
type series struct {
	labels []label
	value  float64

	// of a histogram
	bounds []float64
	counts []uint64 // one more than bounds; not cumulative
	count  uint64
}

type label struct{ name, value string }

// metrics is the newest value of every series that was received. At the
// bound new series are counted and dropped; those that are known go on.
type metrics struct {
	bound int

	mu      sync.Mutex
	series  map[seriesKey]*series
	kinds   map[string]kind
	dropped uint64
}

func (m *metrics) size() (series int, dropped uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.series), m.dropped
}

func (s *Store) receiveMetrics(data *metricsv1.MetricsData) {
	for _, resource := range data.GetResourceMetrics() {
		points := uint64(0)
		service := serviceOf(resource.GetResource())
		for _, scope := range resource.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				points += s.metrics.receive(service, metric)
			}
		}
		s.mu.Lock()
		s.counted.add("points", service, points)
		s.mu.Unlock()
	}
}

// receive takes the points of one metric and returns how many there were.
func (m *metrics) receive(service string, metric *metricsv1.Metric) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	name, help := prometheusName(metric.GetName(), metric.GetUnit()), metric.GetDescription()
	switch data := metric.GetData().(type) {
	case *metricsv1.Metric_Gauge:
		return m.numbers(name, "gauge", help, service, data.Gauge.GetDataPoints(), false)
	case *metricsv1.Metric_Sum:
		delta := data.Sum.GetAggregationTemporality() == metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
		if data.Sum.GetIsMonotonic() {
			return m.numbers(withSuffix(name, "_total"), "counter", help, service, data.Sum.GetDataPoints(), delta)
		}
		return m.numbers(name, "gauge", help, service, data.Sum.GetDataPoints(), delta)
	case *metricsv1.Metric_Histogram:
		return m.histograms(name, help, service, data.Histogram)
	}
	return 0 // exponential histograms and summaries have no use here yet
}

func (m *metrics) numbers(name, typ, help, service string, points []*metricsv1.NumberDataPoint, delta bool) uint64 {
	for _, p := range points {
		value := p.GetAsDouble()
		if i, isInt := p.GetValue().(*metricsv1.NumberDataPoint_AsInt); isInt {
			value = float64(i.AsInt)
		}
		s := m.at(name, typ, help, service, p.GetAttributes())
		if s == nil {
			continue
		}
		if delta {
			value += s.value
		}
		s.value = value
	}
	return uint64(len(points))
}

func (m *metrics) histograms(name, help, service string, h *metricsv1.Histogram) uint64 {
	delta := h.GetAggregationTemporality() == metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	for _, p := range h.GetDataPoints() {
		if len(p.GetBucketCounts()) != 0 && len(p.GetBucketCounts()) != len(p.GetExplicitBounds())+1 || len(p.GetExplicitBounds()) > 200 {
			continue
		}
		s := m.at(name, "histogram", help, service, p.GetAttributes())
		if s == nil {
			continue
		}
		counts := slices.Clone(p.GetBucketCounts())
		if !delta || !slices.Equal(s.bounds, p.GetExplicitBounds()) {
			s.bounds, s.counts, s.count, s.value = slices.Clone(p.GetExplicitBounds()), counts, p.GetCount(), p.GetSum()
			continue
		}
		for i := range min(len(counts), len(s.counts)) {
			s.counts[i] += counts[i]
		}
		s.count += p.GetCount()
		s.value += p.GetSum()
	}
	return uint64(len(h.GetDataPoints()))
}

// at finds or makes a series; nil at the bound, and for a metric that already
// exists with another type.
func (m *metrics) at(name, typ, help, service string, attributes []*commonv1.KeyValue) *series {
	known, exists := m.kinds[name]
	if exists && known.prometheus != typ {
		m.dropped++
		return nil
	}
	labels := labelsOf(service, attributes)
	key := seriesKey{name, renderLabels(labels)}
	s := m.series[key]
	if s == nil {
		if len(m.series) >= m.bound {
			m.dropped++
			return nil
		}
		s = &series{labels: labels}
		m.series[key] = s
	}
	if !exists {
		m.kinds[name] = kind{typ, cut(help)}
	}
	return s
}

// labelsOf makes labels of attributes, sorted, with the service as Prometheus'
// own job would be.
func labelsOf(service string, attributes []*commonv1.KeyValue) []label {
	labels := make([]label, 0, len(attributes)+1)
	for _, a := range attributes[:min(len(attributes), maxAttributes)] {
		labels = append(labels, label{sanitize(a.GetKey()), cut(text(a.GetValue()))})
	}
	labels = append(labels, label{"service", service})
	slices.SortStableFunc(labels, func(a, b label) int { return strings.Compare(a.name, b.name) })
	return slices.CompactFunc(labels, func(a, b label) bool { return a.name == b.name })
}
