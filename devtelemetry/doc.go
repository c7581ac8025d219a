// Package devtelemetry is mesh's telemetry backend for development: it
// receives traces, metrics and logs by OTLP, over HTTP (Protobuf and JSON) and
// over gRPC on one port, keeps a bounded recent part of them in memory, and
// gives metrics out again in Prometheus' text format.
//
// Nothing here waits: a sender is answered as soon as its data is in memory,
// and what does not fit pushes out what is oldest, or, for new metric series
// over the bound, is counted and dropped.
//
// gRPC is served by Connect, without grpc-go: an export request has the wire
// layout of TracesData, MetricsData and LogsData, which come without it.
package devtelemetry
