package devgateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const procedure = "/test.v1.Test/Call"

// rpc is an upstream with a unary and a bidirectional call.
func rpc(t testing.TB) Instance {
	mux := http.NewServeMux()
	mux.Handle(procedure, connect.NewUnaryHandler(procedure, func(_ context.Context, r *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
		if r.Msg.Value == "fail" {
			return nil, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("no cart"))
		}
		return connect.NewResponse(wrapperspb.String(r.Header().Get("X-Forwarded-User") + " said " + r.Msg.Value)), nil
	}))
	mux.Handle(procedure+"Bidi", connect.NewBidiStreamHandler(procedure+"Bidi", func(_ context.Context, s *connect.BidiStream[wrapperspb.StringValue, wrapperspb.StringValue]) error {
		for {
			m, err := s.Receive()
			if err != nil {
				return nil
			}
			if err := s.Send(wrapperspb.String("echo " + m.Value)); err != nil {
				return err
			}
		}
	}))
	up := upstream(t, mux.ServeHTTP)
	up.HTTP2 = true
	return up
}

func bearer(user string) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			r.Header().Set("Authorization", "Bearer "+user)
			return next(ctx, r)
		}
	})
}

func TestRPCProtocols(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/test.v1.Test/"})
	r.SetInstances(one("s", rpc(t)))
	for name, c := range map[string]struct {
		client *http.Client
		option connect.ClientOption
	}{
		"grpc": {r.h2, connect.WithGRPC()}, "grpc-web": {r.client, connect.WithGRPCWeb()},
		"connect": {r.client, connect.WithProtoJSON()}, "connect h2": {r.h2, connect.WithProtoJSON()},
	} {
		call := func(user, text string) (string, error) {
			client := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](c.client, r.url+procedure, c.option, connect.WithInterceptors(bearer(user)))
			res, err := client.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String(text)))
			if err != nil {
				return "", err
			}
			return res.Msg.Value, nil
		}
		if got, err := call("alice", "hello"); err != nil || got != "alice said hello" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if _, err := call("alice", "fail"); connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Errorf("%s: the service's error arrived as %v", name, err)
		}
		if _, err := call("nobody", "hello"); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s: the gateway's 401 arrived as %v", name, err)
		}
	}
	r.SetInstances(one("other"))
	client := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](r.h2, r.url+procedure, connect.WithGRPC(), connect.WithInterceptors(bearer("alice")))
	if _, err := client.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String(""))); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "no healthy instance") {
		t.Errorf("503 by gRPC: %v", err)
	}
}

// A bidirectional stream is ended after the grace with a status that says
// to try again, and the instance is then free.
func TestDrainEndsStreams(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	up := rpc(t)
	r.SetInstances(one("s", up))
	stream := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](r.h2, r.url+procedure+"Bidi", connect.WithGRPC()).CallBidiStream(t.Context())
	for i := range 3 {
		if err := stream.Send(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if m, err := stream.Receive(); err != nil || m.Value != fmt.Sprint("echo ", i) {
			t.Fatalf("message %d: %v %v", i, m, err)
		}
	}
	r.SetInstances(one("s"))
	r.Drain(t.Context(), up.Addr, time.Millisecond)
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "being replaced") {
		t.Errorf("the stream ended with %v", err)
	}
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
}

func TestDrainWaitsForRequests(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	arrived, answer := make(chan struct{}), make(chan struct{})
	old := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = io.WriteString(w, "old")
	})
	r.SetInstances(one("s", old))
	first := make(chan reply)
	go func() { first <- r.do("GET", "/", nil) }()
	<-arrived
	r.SetInstances(one("s", upstream(t, seen)))
	if got := r.do("GET", "/", nil); got.body != "hello" {
		t.Errorf("after the swap: %q", got.body)
	}
	drained := make(chan struct{})
	go func() {
		r.Drain(t.Context(), old.Addr, 0)
		close(drained)
	}()
	select {
	case <-drained:
		t.Error("drained with a request under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(answer)
	if got := <-first; got.body != "old" {
		t.Errorf("the request under way got %q", got.body)
	}
	<-drained
}

func TestServerSentEventsArriveAtOnceAndEndInOrder(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, Timeout: 50 * time.Millisecond})
	up := upstream(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-req.Context().Done()
	})
	r.SetInstances(one("s", up))
	res, err := r.client.Get(r.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Fatalf("%q %v", line, err)
	}
	time.Sleep(60 * time.Millisecond) // past the route's timeout, which a stream has none of
	r.SetInstances(one("s"))
	r.Drain(t.Context(), up.Addr, 0)
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "\n" {
		t.Errorf("the stream ended with %q %v", rest, err)
	}
}

func TestWebSocket(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/"})
	up := upstream(t, func(w http.ResponseWriter, req *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(req, w)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			text, err := wsutil.ReadClientText(conn)
			if err != nil {
				return
			}
			_ = wsutil.WriteServerText(conn, append([]byte(req.Header.Get("X-Forwarded-User")+": "), text...))
		}
	})
	up.HTTP2 = true // an upgrade goes by HTTP/1.1 all the same
	r.SetInstances(one("s", up))
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP{"Authorization": {"Bearer alice"}}}
	conn, _, _, err := dialer.Dial(t.Context(), "ws://"+r.addr+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := wsutil.WriteClientText(conn, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	if text, err := wsutil.ReadServerText(conn); err != nil || string(text) != "alice: hi" {
		t.Fatalf("%q %v", text, err)
	}
	r.SetInstances(one("s"))
	r.Drain(t.Context(), up.Addr, 0)
	if _, err := wsutil.ReadServerText(conn); err == nil {
		t.Error("the socket outlived its instance")
	}
}

func TestLink(t *testing.T) {
	r := newRig(t, Config{})
	up := rpc(t)
	r.SetInstances(one("profile", up))
	addr, stop := r.listen(func(ctx context.Context, ln net.Listener) error { return r.ServeLink(ctx, ln, "cart", "profile") })
	client := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](r.h2, "http://"+addr+procedure, connect.WithGRPC())
	for range 3 {
		if _, err := client.CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("x"))); err != nil {
			t.Fatal(err)
		}
	}
	r.h2.CloseIdleConnections()
	stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec := r.records[0]; len(r.records) != 3 || rec.Caller != "cart" || rec.Callee != "profile" || rec.GRPC != "0" || rec.Instance != up.ID {
		t.Errorf("records: %+v", r.records)
	}
}

func TestLinkIsNotForBrowsers(t *testing.T) {
	r := newRig(t, Config{})
	r.SetInstances(one("s", upstream(t, seen)))
	r.addr, _ = r.listen(func(ctx context.Context, ln net.Listener) error { return r.ServeLink(ctx, ln, "a", "s") })
	r.url = "http://" + r.addr
	for status, header := range map[int][]string{403: {"Origin", "http://evil.example"}, 421: {"Host", "evil.example"}, 200: {}} {
		if got := r.do("POST", "/", strings.NewReader("x"), header...); got.StatusCode != status {
			t.Errorf("%v: %d, want %d", header, got.StatusCode, status)
		}
	}
	if got := r.browse("GET", upgrade+"Origin: http://evil.example\n"); got.StatusCode != 403 || got.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a WebSocket of another origin: %d %v", got.StatusCode, got.Header)
	}
	if got := r.browse("GET", upgrade+"Origin: "+r.url+"\n"); got.StatusCode != 200 {
		t.Errorf("a WebSocket of its own origin: %d", got.StatusCode)
	}
}

func TestTCPLink(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	r := newRig(t, Config{})
	r.SetInstances(one("db", Instance{ID: "dead", Addr: "127.0.0.1:1"}, Instance{ID: "db-1", Addr: ln.Addr().String()}))
	addr, stop := r.listen(func(ctx context.Context, ln net.Listener) error { return r.ServeTCPLink(ctx, ln, "cart", "db") })
	for range 4 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "ping")
		_ = conn.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(conn); err != nil || string(got) != "ping" {
			t.Errorf("%q %v", got, err)
		}
		conn.Close()
	}
	open, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	stop() // ends connections that are open
}

// Swapping instances as fast as possible loses no request.
func TestSwapUnderLoad(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	a, b := upstream(t, seen), upstream(t, seen)
	r.SetInstances(one("s", a))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	swapped := make(chan struct{})
	go func() {
		defer close(swapped)
		for i := 0; ctx.Err() == nil; i++ {
			now, gone := a, b
			if i%2 == 0 {
				now, gone = b, a
			}
			r.SetInstances(one("s", now))
			r.Drain(context.Background(), gone.Addr, time.Second)
		}
	}()
	for ctx.Err() == nil {
		if got := r.do("POST", "/", strings.NewReader("x")); got.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", got.Status, got.body)
		}
	}
	<-swapped
}
