package devtelemetry

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	maxText       = 2 << 10 // of a name, an attribute's value or a log's body
	maxAttributes = 64
)

func (s *Store) receiveTraces(data *tracev1.TracesData) {
	var spans []Span
	for _, resource := range data.GetResourceSpans() {
		service := serviceOf(resource.GetResource())
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				if len(span.GetTraceId()) == 16 && len(span.GetSpanId()) == 8 {
					spans = append(spans, convertSpan(service, span))
				}
			}
		}
	}
	s.add(spans)
}

func convertSpan(service string, span *tracev1.Span) Span {
	kind := strings.ToLower(strings.TrimPrefix(span.GetKind().String(), "SPAN_KIND_"))
	return Span{
		TraceID: hex.EncodeToString(span.GetTraceId()), SpanID: hex.EncodeToString(span.GetSpanId()),
		ParentID: hex.EncodeToString(span.GetParentSpanId()), Service: service, Name: cut(span.GetName()), Kind: kind,
		Start: unixNano(span.GetStartTimeUnixNano()), End: unixNano(span.GetEndTimeUnixNano()),
		Error:   span.GetStatus().GetCode() == tracev1.Status_STATUS_CODE_ERROR,
		Message: cut(span.GetStatus().GetMessage()), Attributes: attributes(span.GetAttributes()),
	}
}

// LogRecord is a log record as it is kept.
type LogRecord struct {
	Time       time.Time         `json:"time"`
	Service    string            `json:"service"`
	Severity   string            `json:"severity"`
	Body       string            `json:"body"`
	TraceID    string            `json:"trace_id,omitempty"`
	SpanID     string            `json:"span_id,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

func (s *Store) receiveLogs(data *logsv1.LogsData) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range data.GetResourceLogs() {
		service := serviceOf(resource.GetResource())
		for _, scope := range resource.GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				s.counted.add("logs", service, 1)
				s.logs.add(convertLog(service, record))
			}
		}
	}
}

func convertLog(service string, record *logsv1.LogRecord) LogRecord {
	when := record.GetTimeUnixNano()
	if when == 0 {
		when = record.GetObservedTimeUnixNano()
	}
	return LogRecord{
		Time: unixNano(when), Service: service, Severity: cut(record.GetSeverityText()), Body: cut(text(record.GetBody())),
		TraceID: hex.EncodeToString(record.GetTraceId()), SpanID: hex.EncodeToString(record.GetSpanId()),
		Attributes: attributes(record.GetAttributes()),
	}
}

// Logs returns the newest n log records that were received, the newest last.
func (s *Store) Logs(n int) []LogRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logs.newest(n)
}

// serviceOf is the service.name of a resource.
func serviceOf(r *resourcev1.Resource) string {
	for _, a := range r.GetAttributes() {
		if a.GetKey() == "service.name" {
			return cut(a.GetValue().GetStringValue())
		}
	}
	return "unknown_service"
}

func attributes(list []*commonv1.KeyValue) map[string]string {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]string, min(len(list), maxAttributes))
	for _, a := range list[:min(len(list), maxAttributes)] {
		m[cut(a.GetKey())] = cut(text(a.GetValue()))
	}
	return m
}

// text writes a value as a person would.
func text(v *commonv1.AnyValue) string {
	switch v := v.GetValue().(type) {
	case nil:
		return ""
	case *commonv1.AnyValue_StringValue:
		return v.StringValue
	case *commonv1.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonv1.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonv1.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonv1.AnyValue_BytesValue:
		return hex.EncodeToString(v.BytesValue[:min(len(v.BytesValue), maxText)])
	case *commonv1.AnyValue_ArrayValue:
		parts := make([]string, 0, len(v.ArrayValue.GetValues()))
		for _, item := range v.ArrayValue.GetValues() {
			parts = append(parts, text(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}

// cut shortens text to what is kept, between two letters, and makes it valid.
func cut(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

func unixNano(n uint64) time.Time {
	if n == 0 || n > 1<<63-1 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}
