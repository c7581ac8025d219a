// Package grpchealth asks a gRPC server for its health
// (https://grpc.io/docs/guides/health-checking/). One string goes out and one
// number comes back, so the messages are written by hand rather than linking a
// gRPC library for them.
package grpchealth

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Check asks the server at base ("http://127.0.0.1:9000") for a service; "" is
// the server itself. It returns nil when the service is SERVING. The client must
// speak HTTP/2; errors of the connection are the client's, unwrapped.
func Check(ctx context.Context, client *http.Client, base, service string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/grpc.health.v1.Health/Check", bytes.NewReader(frame(request(service))))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	return answer(resp, body)
}

func request(service string) []byte {
	if service == "" {
		return nil
	}
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service)
}

// frame is a message with gRPC's five bytes before it: not compressed, length.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func answer(resp *http.Response, body []byte) error {
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // an answer without a body
	}
	if code, err := strconv.Atoi(status); err != nil || code != 0 {
		return fmt.Errorf("the health check answered HTTP %d, grpc-status %q", resp.StatusCode, status)
	}
	if len(body) < 5 {
		return fmt.Errorf("the health check answered nothing")
	}
	_, _, n := protowire.ConsumeTag(body[5:])
	if n < 0 {
		return fmt.Errorf("the health check answered UNKNOWN")
	}
	if serving, m := protowire.ConsumeVarint(body[5+n:]); m < 0 || serving != 1 {
		return fmt.Errorf("the health check answered status %d, not SERVING", serving)
	}
	return nil
}
