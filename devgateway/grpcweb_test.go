package devgateway

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echo is a service that speaks gRPC and nothing else.
func echo(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	if method == "/t.T/Refuse" {
		return status.Error(codes.NotFound, "no such cart")
	}
	var in wrapperspb.StringValue
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	stream.SetTrailer(metadata.Pairs("x-cost", "1"))
	for range 3 {
		if err := stream.SendMsg(&in); err != nil {
			return err
		}
		if method == "/t.T/Unary" {
			return nil
		}
	}
	return status.Error(codes.DataLoss, "it is over")
}

// TestGRPCWebToGRPC: a page calls a service that knows nothing of pages.
func TestGRPCWebToGRPC(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", grpcServer(t, echo)))
	for way, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": r.h2} {
		call := func(method string) *connect.Client[wrapperspb.StringValue, wrapperspb.StringValue] {
			return connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](client, r.url+"/t.T/"+method, connect.WithGRPCWeb())
		}
		res, err := call("Unary").CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("a")))
		if err != nil || res.Msg.Value != "a" || res.Trailer().Get("X-Cost") != "1" {
			t.Errorf("%s: %v %v", way, res, err)
		}
		if _, err := call("Refuse").CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("a"))); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s: a status without an answer: %v", way, err)
		}
		stream, err := call("Stream").CallServerStream(t.Context(), connect.NewRequest(wrapperspb.String("m")))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for stream.Receive() {
			n++
		}
		if n != 3 || connect.CodeOf(stream.Err()) != connect.CodeDataLoss || stream.ResponseTrailer().Get("X-Cost") != "1" {
			t.Errorf("%s: %d messages, %v, %v", way, n, stream.Err(), stream.ResponseTrailer())
		}
		stream.Close()
	}
	r.SetInstances(one("s"))
	nobody := r.do("POST", "/t.T/Unary", nil, "Content-Type", "application/grpc-web+proto")
	if nobody.Header.Get("Grpc-Status") != grpcUnavailable || nobody.Header.Get("Content-Type") != "application/grpc-web+proto" {
		t.Errorf("without an instance: %v", nobody.Header)
	}
}

// The form for clients that cannot read bytes.
func TestGRPCWebText(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", grpcServer(t, echo)))
	message, err := proto.Marshal(wrapperspb.String(strings.Repeat("long ", 2000)))
	if err != nil {
		t.Fatal(err)
	}
	frame := string(append([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}, message...))
	got := r.do("POST", "/t.T/Unary", strings.NewReader(base64.StdEncoding.EncodeToString([]byte(frame))), "Content-Type", "application/grpc-web-text+proto")
	var body strings.Builder
	for at := 0; at < len(got.body); at += 4 { // parts end in padding of their own
		part, err := base64.StdEncoding.DecodeString(got.body[at:min(at+4, len(got.body))])
		if err != nil {
			t.Fatalf("%v in %q", err, got.body)
		}
		body.Write(part)
	}
	rest, found := strings.CutPrefix(body.String(), frame)
	if !found || !strings.HasPrefix(rest, "\x80\x00\x00\x00") || !strings.Contains(rest, "grpc-status: 0\r\n") || !strings.Contains(rest, "x-cost: 1\r\n") {
		t.Errorf("after the message: %q", rest)
	}
	if kind := got.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/grpc-web-text") || len(got.Trailer) > 0 {
		t.Errorf("%s %v", kind, got.Trailer)
	}
	var status string
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.records {
		status = record.GRPC
	}
	if status != "0" {
		t.Errorf("recorded as %q", status)
	}
}

// A body that is not what it says is its client's fault, and nothing to try again.
func TestGRPCWebTextThatIsNone(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", grpcServer(t, echo)))
	got := r.do("POST", "/t.T/Unary", strings.NewReader("AAAA AA!"), "Content-Type", "application/grpc-web-text+proto")
	if got.Header.Get("Grpc-Status") != "3" || !strings.Contains(got.Header.Get("Grpc-Message"), "base64") {
		t.Error(got.Header)
	}
}
