package devtelemetry

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, s *Store) (addr string) {
	t.Helper()
	server := httptest.NewUnstartedServer(s.Handler())
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return server.Listener.Addr().String()
}

// The official exporters, over each protocol and packed.
func TestOfficialTraceExporters(t *testing.T) {
	for name, dial := range map[string]func(addr string) (sdktrace.SpanExporter, error){
		"http": func(addr string) (sdktrace.SpanExporter, error) {
			return otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(addr), otlptracehttp.WithInsecure())
		},
		"http+gzip": func(addr string) (sdktrace.SpanExporter, error) {
			return otlptracehttp.New(t.Context(), otlptracehttp.WithEndpoint(addr), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
		},
		"grpc": func(addr string) (sdktrace.SpanExporter, error) {
			return otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(addr), otlptracegrpc.WithInsecure())
		},
		"grpc+gzip": func(addr string) (sdktrace.SpanExporter, error) {
			return otlptracegrpc.New(t.Context(), otlptracegrpc.WithEndpoint(addr), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{})
			exporter, err := dial(serve(t, s))
			if err != nil {
				t.Fatal(err)
			}
			provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter),
				sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "cart"))))
			ctx, parent := provider.Tracer("t").Start(t.Context(), "checkout")
			_, child := provider.Tracer("t").Start(ctx, "charge")
			child.SetAttributes(attribute.Int("cents", 350), attribute.StringSlice("tags", []string{"a", "b"}))
			child.SetStatus(codes.Error, "declined")
			child.End()
			parent.End()
			if err := provider.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			sums := s.Traces(Query{Service: "cart", Errors: true})
			if len(sums) != 1 || sums[0].Name != "checkout" || sums[0].Spans != 2 || sums[0].Errors != 1 {
				t.Fatalf("traces: %+v", sums)
			}
			spans, ok := s.Trace(parent.SpanContext().TraceID().String())
			if !ok || spans[1].ParentID != spans[0].SpanID || spans[1].Attributes["cents"] != "350" ||
				spans[1].Attributes["tags"] != "[a, b]" || spans[1].Message != "declined" || spans[0].Kind != "internal" {
				t.Errorf("spans: %+v", spans)
			}
		})
	}
}

func TestOfficialMetricExporter(t *testing.T) {
	s := New(Config{})
	exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpoint(serve(t, s)), otlpmetrichttp.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)),
		sdkmetric.WithResource(resource.NewSchemaless(attribute.String("service.name", "cart"))))
	meter := provider.Meter("t")
	counter, _ := meter.Int64Counter("orders.placed", metric.WithDescription("Orders\nplaced."))
	counter.Add(t.Context(), 3, metric.WithAttributes(attribute.String("kind", `a"b`)))
	histogram, _ := meter.Float64Histogram("http.server.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(1, 2))
	for _, v := range []float64{.5, 1.5, 9} {
		histogram.Record(t.Context(), v)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := scrape(t, s)
	for _, want := range []string{
		`# HELP orders_placed_total Orders\nplaced.`, "# TYPE orders_placed_total counter",
		`orders_placed_total{kind="a\"b",service="cart"} 3`,
		`http_server_duration_seconds_bucket{service="cart",le="1"} 1`,
		`http_server_duration_seconds_bucket{service="cart",le="2"} 2`,
		`http_server_duration_seconds_bucket{service="cart",le="+Inf"} 3`,
		`http_server_duration_seconds_sum{service="cart"} 11`, `http_server_duration_seconds_count{service="cart"} 3`,
		`mesh_telemetry_received_total{kind="points",service="cart"} 2`,
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("no %s in:\n%s", want, page)
		}
	}
}

func scrape(t *testing.T, s *Store) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func post(s *Store, path, media, encoding string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", media)
	r.Header.Set("Content-Encoding", encoding)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// A page of another origin leaves no trace; who is no browser goes on as before.
func TestTelemetryIsNotForPages(t *testing.T) {
	s := New(Config{})
	for _, tt := range []struct {
		h      http.Handler
		path   string
		header []string
		status int
	}{
		{s.Handler(), "/v1/traces", []string{"Origin", "http://evil.example"}, 403},
		{s.Handler(), "/v1/traces", []string{"Origin", "null"}, 403},
		{s.Handler(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{s.MetricsHandler(), "/metrics", []string{"Origin", "http://evil.example"}, 403},
		{s.Handler(), "/v1/traces", []string{"Origin", "http://example.com"}, 200}, // httptest's host
		{s.Handler(), "/v1/traces", []string{"User-Agent", "exporter"}, 200},
	} {
		r := httptest.NewRequest(http.MethodPost, tt.path, strings.NewReader(jsonTraces))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set(tt.header[0], tt.header[1])
		w := httptest.NewRecorder()
		tt.h.ServeHTTP(w, r)
		if w.Code != tt.status || w.Code == 403 && !strings.Contains(w.Body.String(), "another origin") {
			t.Errorf("%s of %v: %d %s, want %d", tt.path, tt.header, w.Code, w.Body, tt.status)
		}
	}
}

const jsonTraces = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"web"}}]},
"scopeSpans":[{"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","name":"load",
"kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","later":true}]}]}]}`

func TestJSON(t *testing.T) {
	s := New(Config{})
	if w := post(s, "/v1/traces", "application/json", "", []byte(jsonTraces)); w.Code != 200 || w.Body.String() != "{}" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := s.Traces(Query{})
	if len(got) != 1 || got[0].TraceID != "5b8efff798038103d269b633813fc60c" || got[0].Duration != time.Second || got[0].Service != "web" {
		t.Errorf("traces: %+v", got)
	}
}

func TestLogs(t *testing.T) {
	s := New(Config{MaxLogs: 2})
	data := &logsv1.LogsData{ResourceLogs: []*logsv1.ResourceLogs{{
		Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{{Key: "service.name", Value: textValue("cart")}}},
		ScopeLogs: []*logsv1.ScopeLogs{{LogRecords: []*logsv1.LogRecord{
			{Body: textValue("one")}, {Body: textValue("two"), SeverityText: "INFO", TraceId: bytes.Repeat([]byte{1}, 16)}, {Body: textValue("three\xff")},
		}}},
	}}}
	data.ResourceLogs[0].ScopeLogs[0].LogRecords[2].Body = textValue(strings.Repeat("é", maxText))
	body, err := proto.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	if w := post(s, "/v1/logs", "application/x-protobuf", "", body); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	logs := s.Logs(10)
	if len(logs) != 2 || logs[0].Body != "two" || logs[0].Service != "cart" || logs[0].TraceID != strings.Repeat("01", 16) || len(logs[1].Body) != maxText {
		t.Errorf("logs: %+v", logs)
	}
}

func textValue(s string) *commonv1.AnyValue {
	return &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: s}}
}

func TestWhatIsWrong(t *testing.T) {
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	_, _ = io.Copy(packer, io.LimitReader(zeros{}, maxRequest+1))
	packer.Close()
	for _, tt := range []struct {
		media, encoding, body string
		status                int
	}{
		{"text/plain", "", "", 415}, {"", "", "", 415},
		{"application/x-protobuf", "", "\xff", 400}, {"application/json", "", "{", 400},
		{"application/json", "", `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz"}]}]}]}`, 400},
		{"application/x-protobuf", "gzip", "not gzip", 400}, {"application/x-protobuf", "br", "", 400},
		{"application/x-protobuf", "gzip", bomb.String(), 413},
	} {
		s := New(Config{})
		if w := post(s, "/v1/traces", tt.media, tt.encoding, []byte(tt.body)); w.Code != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.media, tt.encoding, w.Code, tt.status)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBounds(t *testing.T) {
	s := New(Config{MaxTraces: 3, MaxSeries: 2})
	for i := range 10 {
		s.Record(Request{TraceID: fmt.Sprintf("%032d", i), SpanID: "a", Caller: "gateway", Callee: "cart", Status: 200, Duration: 20 * time.Millisecond})
	}
	if got := s.Traces(Query{}); len(got) != 3 || got[0].TraceID != fmt.Sprintf("%032d", 9) {
		t.Errorf("traces: %+v", got)
	}
	for i := range maxSpans + 5 {
		s.Record(Request{TraceID: "endless", SpanID: fmt.Sprint(i)})
	}
	if spans, _ := s.Trace("endless"); len(spans) != maxSpans {
		t.Errorf("%d spans of one trace", len(spans))
	}
	for i := range 5 {
		s.metrics.receive("cart", &metricsv1.Metric{Name: "g", Data: &metricsv1.Metric_Gauge{Gauge: &metricsv1.Gauge{
			DataPoints: []*metricsv1.NumberDataPoint{{Attributes: []*commonv1.KeyValue{{Key: "id", Value: textValue(fmt.Sprint(i))}}}},
		}}})
	}
	stats := s.Stats()
	if stats.Series != 2 || stats.Dropped != 5+3 || stats.Spans["gateway"] != 10+maxSpans+5 {
		t.Errorf("stats: %+v", stats)
	}
	page := scrape(t, s)
	if want := `mesh_request_duration_seconds_bucket{caller="gateway",callee="cart",code="200",le="0.025"} 10`; !strings.Contains(page, want) {
		t.Errorf("no %s in:\n%s", want, page)
	}
	before := stats.Dropped
	for i := range maxEdges + 2 { // two edges are there already
		s.Record(Request{TraceID: "edges", SpanID: fmt.Sprint(i), Caller: "gateway", Callee: fmt.Sprint(i)})
	}
	if got := s.Stats().Dropped - before; got != uint64(maxEdges+2-maxSpans)+4 {
		t.Errorf("%d spans and requests were dropped", got)
	}
	small := New(Config{MaxBytes: 1000})
	for i := range 100 {
		small.Record(Request{TraceID: fmt.Sprint(i)})
	}
	if got := small.Stats(); got.Bytes > 1000 || got.Traces == 0 {
		t.Errorf("stats over the bound of bytes: %+v", got)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(jsonTraces))
	f.Fuzz(func(_ *testing.T, body []byte) {
		s := New(Config{})
		post(s, "/v1/traces", "application/json", "", body)
		s.Traces(Query{})
	})
}

func BenchmarkRecord(b *testing.B) {
	s := New(Config{})
	for i := 0; b.Loop(); i++ {
		s.Record(Request{TraceID: fmt.Sprint(i), SpanID: "s", Caller: "gateway", Callee: "cart", Status: 200, Duration: time.Millisecond})
	}
}

func TestTargetsAreAttributes(t *testing.T) {
	s := New(Config{})
	s.Record(Request{TraceID: "a", SpanID: "1", Target: Target{Method: "GET", Path: "/x", Instance: "cart-1"}})
	s.Record(Request{TraceID: "a", SpanID: "2", Target: Target{Instance: "db-1"}}) // of a TCP link
	want := []map[string]string{{"http.request.method": "GET", "url.path": "/x", "service.instance.id": "cart-1"}, {"service.instance.id": "db-1"}}
	spans, _ := s.Trace("a")
	for i, span := range spans {
		if !maps.Equal(span.Attributes, want[i]) {
			t.Errorf("%d: %v", i, span.Attributes)
		}
	}
}
