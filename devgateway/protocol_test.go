package devgateway

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// eachProtocol runs a test over each way in: HTTP/1.1 and HTTP/2, without TLS and
// over it.
func eachProtocol(t *testing.T, config Config, routes []Route, service http.HandlerFunc, test func(t *testing.T, r *rig, client *http.Client)) {
	for way, rigOf := range map[string]func(*testing.T, Config, ...Route) *rig{"TCP": newRig, "TLS": newTLSRig} {
		t.Run(way, func(t *testing.T) {
			r := rigOf(t, config, routes...)
			r.SetInstances(one("s", upstream(t, service)))
			t.Run("HTTP/1.1", func(t *testing.T) { test(t, r, r.client) })
			t.Run("HTTP/2", func(t *testing.T) { test(t, r, r.h2) })
		})
	}
}

// begin sends a request and returns its answer when the head is there.
func begin(ctx context.Context, t *testing.T, client *http.Client, method, url string, body io.Reader) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

var open1 = []Route{{Service: "s", Prefix: "/", Auth: AuthNone}}

func TestInformationalAnswers(t *testing.T) {
	service := func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			w.Header().Set("Link", fmt.Sprintf("</%d.css>; rel=preload", i))
			w.WriteHeader(http.StatusEarlyHints)
		}
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "done")
	}
	eachProtocol(t, Config{}, open1, service, func(t *testing.T, r *rig, client *http.Client) {
		var hints []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, " ", h.Get("Link")))
			return nil
		}})
		got := read(t, begin(ctx, t, client, http.MethodGet, r.url, nil))
		if want := "[103 </0.css>; rel=preload 103 </1.css>; rel=preload 103 </2.css>; rel=preload]"; fmt.Sprint(hints) != want || got.body != "done" || got.Header.Get("Link") != "" {
			t.Errorf("%v, then %q %v", hints, got.body, got.Header)
		}
	})
}

func TestTrailers(t *testing.T) {
	service := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", "answer to "+r.Trailer.Get("X-Check"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	}
	eachProtocol(t, Config{}, open1, service, func(t *testing.T, r *rig, client *http.Client) {
		body, feed := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Check": nil}
		go func() {
			_, _ = io.WriteString(feed, "hello")
			req.Trailer.Set("X-Check", "7")
			feed.Close()
		}()
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := read(t, res); got.body != "hello" || got.Trailer.Get("X-Sum") != "answer to 7" || got.Trailer.Get("X-Late") != "unannounced" {
			t.Errorf("%q %v", got.body, got.Trailer)
		}
	})
}

// A service that refuses a body by its head gets none of it.
func TestExpectContinue(t *testing.T) {
	service := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		seen(w, r)
	}
	eachProtocol(t, Config{}, open1, service, func(t *testing.T, r *rig, client *http.Client) {
		for path, want := range map[string]struct {
			status int
			sent   bool
		}{"/yes": {200, true}, "/no": {417, false}} {
			var read1 atomic.Bool
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.url+path, &noticed{strings.NewReader("body"), &read1})
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = 4
			req.Header.Set("Expect", "100-continue")
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			// Go's client of HTTP/2 does not wait to be told.
			if got := read(t, res); got.StatusCode != want.status || read1.Load() != want.sent && got.ProtoMajor == 1 {
				t.Errorf("%s: %s, the body was sent: %t", path, got.Status, read1.Load())
			}
		}
	})
}

type noticed struct {
	io.Reader
	read *atomic.Bool
}

func (n *noticed) Read(p []byte) (int, error) { n.read.Store(true); return n.Reader.Read(p) }

// Large bodies pass while they are sent, and whole, whichever way: no side waits for
// the other's end.
func TestLargeBodiesAreStreamed(t *testing.T) {
	const size = 16 << 20
	service := func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		n, _ := io.Copy(sum, r.Body)
		_, _ = fmt.Fprintf(w, "%d %x\n", n, sum.Sum(nil))
		_ = http.NewResponseController(w).Flush()
		_, _ = io.CopyN(w, zeros{}, size)
	}
	eachProtocol(t, Config{}, open1, service, func(t *testing.T, r *rig, client *http.Client) {
		sum := sha256.New()
		res := begin(t.Context(), t, client, http.MethodPost, r.url, io.TeeReader(io.LimitReader(zeros{}, size), sum))
		defer res.Body.Close()
		in := bufio.NewReader(res.Body)
		line, err := in.ReadString('\n')
		if want := fmt.Sprintf("%d %x\n", size, sum.Sum(nil)); err != nil || line != want {
			t.Errorf("up: %q %v, want %q", line, err, want)
		}
		if n, err := io.Copy(io.Discard, in); err != nil || n != size {
			t.Errorf("down: %d %v", n, err)
		}
	})
}

// An echo comes back before its question is complete: neither body is gathered.
func TestBodiesAreNotGathered(t *testing.T) {
	service := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		_ = rc.Flush()
		for in := bufio.NewScanner(r.Body); in.Scan(); {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", in.Text())
			_ = rc.Flush()
		}
	}
	for way, rigOf := range map[string]func(*testing.T, Config, ...Route) *rig{"TCP": newRig, "TLS": newTLSRig} {
		r := rigOf(t, Config{}, open1...)
		up := upstream(t, service)
		up.HTTP2 = true // a body in both directions at once is HTTP/2's
		r.SetInstances(one("s", up))
		body, feed := io.Pipe()
		res := begin(t.Context(), t, r.h2, http.MethodPost, r.url, body)
		out := bufio.NewReader(res.Body)
		for i := range 5 {
			if _, err := fmt.Fprintln(feed, i); err != nil {
				t.Fatal(err)
			}
			line, err := out.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
				t.Fatalf("%s: %q %v", way, line, err)
			}
			_, _ = out.ReadString('\n')
		}
		feed.Close()
		res.Body.Close()
	}
}

func TestServerSentEvents(t *testing.T) {
	var channels sync.Map // by path: a stream that is not over yet takes nothing from the next one
	service := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		own, _ := channels.Load(r.URL.Path)
		next := own.(chan int)
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case i := <-next:
				_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			case <-r.Context().Done():
				return
			}
		}
	}
	eachProtocol(t, Config{}, open1, service, func(t *testing.T, r *rig, client *http.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		path, next := "/"+t.Name(), make(chan int)
		channels.Store(path, next)
		res := begin(ctx, t, client, http.MethodGet, r.url+path, nil)
		defer res.Body.Close()
		out := bufio.NewReader(res.Body)
		for i := range 5 {
			next <- i
			if line, err := out.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("%q %v", line, err)
			}
			_, _ = out.ReadString('\n')
		}
	})
}

func TestWebSocketOverTLS(t *testing.T) {
	r := newTLSRig(t, Config{}, Route{Service: "s", Prefix: "/"})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) {
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
			_ = wsutil.WriteServerText(conn, append([]byte(req.Header.Get("X-Forwarded-Proto")+": "), text...))
		}
	})))
	config := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP{"Authorization": {"Bearer alice"}}, NetDial: func(_ context.Context, _, _ string) (net.Conn, error) {
		return tls.Dial("tcp", r.addr, config)
	}}
	conn, _, _, err := dialer.Dial(t.Context(), "ws://"+r.addr+"/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, text := range []string{"a", strings.Repeat("b", 1<<20)} {
		if err := wsutil.WriteClientText(conn, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "https: "+text {
			t.Errorf("%.20q %v", got, err)
		}
	}
}

// kinds is a service with the four kinds of gRPC's calls.
func kinds() http.Handler {
	type text = wrapperspb.StringValue
	mux := http.NewServeMux()
	mux.Handle("/t.T/Unary", connect.NewUnaryHandler("/t.T/Unary", func(_ context.Context, r *connect.Request[text]) (*connect.Response[text], error) {
		if r.Msg.Value == "fail" {
			return nil, connect.NewError(connect.CodeAborted, errors.New("aborted"))
		}
		res := connect.NewResponse(wrapperspb.String("one " + r.Msg.Value))
		res.Trailer().Set("X-Cost", "1")
		return res, nil
	}))
	mux.Handle("/t.T/Client", connect.NewClientStreamHandler("/t.T/Client", func(_ context.Context, s *connect.ClientStream[text]) (*connect.Response[text], error) {
		var all []string
		for s.Receive() {
			all = append(all, s.Msg().Value)
		}
		return connect.NewResponse(wrapperspb.String(strings.Join(all, "+"))), s.Err()
	}))
	mux.Handle("/t.T/Server", connect.NewServerStreamHandler("/t.T/Server", func(_ context.Context, r *connect.Request[text], s *connect.ServerStream[text]) error {
		for i := range 3 {
			if err := s.Send(wrapperspb.String(fmt.Sprint(r.Msg.Value, i))); err != nil {
				return err
			}
		}
		return connect.NewError(connect.CodeDataLoss, errors.New("that was all"))
	}))
	mux.Handle("/t.T/Bidi", connect.NewBidiStreamHandler("/t.T/Bidi", func(_ context.Context, s *connect.BidiStream[text, text]) error {
		for {
			m, err := s.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.Send(wrapperspb.String("echo " + m.Value)); err != nil {
				return err
			}
		}
	}))
	return mux
}

// TestFourKindsOfCalls: by gRPC, gRPC-Web and Connect, over HTTP/2 without TLS and
// over it; over HTTP/1.1 what it can do.
func TestFourKindsOfCalls(t *testing.T) {
	for way, rigOf := range map[string]func(*testing.T, Config, ...Route) *rig{"TCP": newRig, "TLS": newTLSRig} {
		r := rigOf(t, Config{}, open1...)
		up := upstream(t, kinds().ServeHTTP)
		up.HTTP2 = true
		r.SetInstances(one("s", up))
		for protocol, options := range map[string][]connect.ClientOption{"gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()}, "Connect": {}} {
			t.Run(way+"/"+protocol, func(t *testing.T) {
				calls(t, r.h2, r.url, options, true)
				if protocol != "gRPC" {
					calls(t, r.client, r.url, options, false)
				}
			})
		}
	}
}

func calls(t *testing.T, client *http.Client, url string, options []connect.ClientOption, bidi bool) {
	call := func(kind string) *connect.Client[wrapperspb.StringValue, wrapperspb.StringValue] {
		return connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](client, url+"/t.T/"+kind, options...)
	}
	res, err := call("Unary").CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("a")))
	if err != nil || res.Msg.Value != "one a" || res.Trailer().Get("X-Cost") != "1" {
		t.Errorf("unary: %v %v", res, err)
	}
	if _, err := call("Unary").CallUnary(t.Context(), connect.NewRequest(wrapperspb.String("fail"))); connect.CodeOf(err) != connect.CodeAborted {
		t.Errorf("a unary call that fails: %v", err)
	}
	up := call("Client").CallClientStream(t.Context())
	for _, text := range []string{"a", "b", strings.Repeat("c", 100_000)} {
		if err := up.Send(wrapperspb.String(text)); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := up.CloseAndReceive(); err != nil || len(res.Msg.Value) != 100_004 {
		t.Errorf("client stream: %v", err)
	}
	down, err := call("Server").CallServerStream(t.Context(), connect.NewRequest(wrapperspb.String("m")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for down.Receive() {
		got = append(got, down.Msg().Value)
	}
	if strings.Join(got, " ") != "m0 m1 m2" || connect.CodeOf(down.Err()) != connect.CodeDataLoss {
		t.Errorf("server stream: %v %v", got, down.Err())
	}
	down.Close()
	if !bidi {
		return
	}
	both := call("Bidi").CallBidiStream(t.Context())
	for i := range 3 {
		if err := both.Send(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if m, err := both.Receive(); err != nil || m.Value != fmt.Sprint("echo ", i) {
			t.Errorf("bidirectional: %v %v", m, err)
		}
	}
	if err := both.CloseRequest(); err != nil {
		t.Error(err)
	}
	if _, err := both.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the end of a bidirectional stream: %v", err)
	}
	both.CloseResponse()
}
