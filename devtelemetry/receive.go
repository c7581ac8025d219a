package devtelemetry

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"

	"connectrpc.com/connect"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// maxRequest bounds an export, packed and unpacked.
const maxRequest = 32 << 20

// Handler receives OTLP over HTTP (/v1/traces, /v1/metrics, /v1/logs) and
// over gRPC. For gRPC its server has to speak HTTP/2 without TLS. The server
// checks the Host header: the store does not know its own address.
func (s *Store) Handler() http.Handler {
	mux := http.NewServeMux()
	receive(mux, "trace", "Trace", "/v1/traces", func() *tracev1.TracesData { return new(tracev1.TracesData) }, s.receiveTraces)
	receive(mux, "metrics", "Metrics", "/v1/metrics", func() *metricsv1.MetricsData { return new(metricsv1.MetricsData) }, s.receiveMetrics)
	receive(mux, "logs", "Logs", "/v1/logs", func() *logsv1.LogsData { return new(logsv1.LogsData) }, s.receiveLogs)
	return notForPages(mux)
}

// notForPages refuses what a page of another origin has a browser send.
func notForPages(h http.Handler) http.Handler {
	browsers := http.NewCrossOriginProtection()
	browsers.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a page of another origin may not send this", http.StatusForbidden)
	}))
	return browsers.Handler(h)
}

// receive serves one signal on both protocols. An export's answer is empty
// when everything was taken; it always is.
func receive[T any, M interface {
	*T
	proto.Message
}](mux *http.ServeMux, pkg, service, path string, empty func() M, take func(M)) {
	procedure := "/opentelemetry.proto.collector." + pkg + ".v1." + service + "Service/Export"
	mux.Handle(procedure, connect.NewUnaryHandler(procedure,
		func(_ context.Context, r *connect.Request[T]) (*connect.Response[emptypb.Empty], error) {
			take(M(r.Msg))
			return connect.NewResponse(&emptypb.Empty{}), nil
		}, connect.WithReadMaxBytes(maxRequest)))
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		message := empty()
		status, err := read(w, r, message)
		if err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		take(message)
		answer(w, r)
	})
}

// read decodes the body of an export (OTLP specification, "OTLP/HTTP").
func read(w http.ResponseWriter, r *http.Request, into proto.Message) (status int, err error) {
	body, err := unpack(w, r)
	if err != nil {
		return http.StatusBadRequest, err
	}
	data, err := io.ReadAll(io.LimitReader(body, maxRequest+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge) || len(data) > maxRequest:
		return http.StatusRequestEntityTooLarge, errors.New("the export is too large")
	case err != nil:
		return http.StatusBadRequest, errors.New("the body cannot be read")
	}
	switch mediaType(r) {
	case "application/x-protobuf":
		err = proto.Unmarshal(data, into)
	case "application/json":
		err = unmarshalJSON(data, into)
	default:
		return http.StatusUnsupportedMediaType, errors.New("the content type is not application/x-protobuf or application/json")
	}
	if err != nil {
		return http.StatusBadRequest, errors.New("the body is not a valid export")
	}
	return http.StatusOK, nil
}

func unpack(w http.ResponseWriter, r *http.Request) (io.Reader, error) {
	body := http.MaxBytesReader(w, r.Body, maxRequest)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		return body, nil
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, errors.New("the body is not gzip")
		}
		return unpacked, nil
	}
	return nil, errors.New("only gzip is supported as content encoding")
}

func mediaType(r *http.Request) string {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

// answer sends the empty answer in the encoding of the request.
func answer(w http.ResponseWriter, r *http.Request) {
	media := mediaType(r)
	w.Header().Set("Content-Type", media)
	w.WriteHeader(http.StatusOK)
	if media == "application/json" {
		_, _ = io.WriteString(w, "{}")
	}
}
