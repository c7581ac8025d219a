package devgateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestGRPCsOwnClient: the client that most services of the field use, which is
// stricter than Connect's about frames and trailers.
func TestGRPCsOwnClient(t *testing.T) {
	for way, rigOf := range map[string]func(*testing.T, Config, ...Route) *rig{"TCP": newRig, "TLS": newTLSRig} {
		t.Run(way, func(t *testing.T) {
			r := rigOf(t, Config{}, Route{Service: "s", Prefix: "/"})
			r.SetInstances(one("s", upstream(t, kinds().ServeHTTP))) // protocol auto: gRPC goes by HTTP/2 all the same
			trust := insecure.NewCredentials()
			if way == "TLS" {
				trust = credentials.NewTLS(r.h2.Transport.(*http.Transport).TLSClientConfig.Clone())
			}
			client, err := grpc.NewClient(r.addr, grpc.WithTransportCredentials(trust))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			unary(t, client)
			bidirectional(t, client)
		})
	}
}

func unary(t *testing.T, client *grpc.ClientConn) {
	alice := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer alice")
	var out wrapperspb.StringValue
	var trailer metadata.MD
	if err := client.Invoke(alice, "/t.T/Unary", wrapperspb.String("a"), &out, grpc.Trailer(&trailer)); err != nil || out.Value != "one a" || fmt.Sprint(trailer["x-cost"]) != "[1]" {
		t.Errorf("%v %v %v", out.Value, trailer, err)
	}
	if err := client.Invoke(alice, "/t.T/Unary", wrapperspb.String("fail"), &out); status.Code(err) != codes.Aborted {
		t.Errorf("a call that fails: %v", err)
	}
	if err := client.Invoke(t.Context(), "/t.T/Unary", wrapperspb.String("a"), &out); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	if err := client.Invoke(alice, "/t.T/Nothing", wrapperspb.String("a"), &out); status.Code(err) != codes.Unimplemented {
		t.Errorf("a call that there is not: %v", err)
	}
}

func bidirectional(t *testing.T, client *grpc.ClientConn) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer alice")
	stream, err := client.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/t.T/Bidi")
	if err != nil {
		t.Fatal(err)
	}
	var in wrapperspb.StringValue
	for i := range 3 {
		if err := stream.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&in); err != nil || in.Value != fmt.Sprint("echo ", i) {
			t.Errorf("%v %v", in.Value, err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&in); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
}

// grpcServer is one of gRPC's own, which answers an error without anything before it
// by a single frame (gRPC over HTTP/2, Trailers-Only).
func grpcServer(t *testing.T, handle grpc.StreamHandler) Instance {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(handle))
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-served })
	return Instance{ID: "grpc", Addr: ln.Addr().String(), HTTP2: true}
}

// TestStatusWithoutAnAnswer: the status of a call is its client's, wherever gRPC's own
// server puts it.
func TestStatusWithoutAnAnswer(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", grpcServer(t, func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		if method == "/t.T/Late" {
			if err := stream.SendHeader(metadata.Pairs("x-head", "1")); err != nil {
				return err
			}
		}
		return status.Error(codes.NotFound, "no such cart")
	})))
	link, _ := r.listen(r.link("a", "s"))
	for way, addr := range map[string]string{"gateway": r.addr, "link": link} {
		client, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"/t.T/Early", "/t.T/Late"} {
			err := client.Invoke(t.Context(), method, wrapperspb.String("a"), &wrapperspb.StringValue{})
			if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "no such cart" {
				t.Errorf("%s by the %s: %v", method, way, err)
			}
		}
		client.Close()
	}
}
