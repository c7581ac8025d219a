package devgateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkProxy is the cost of a request of 100 bytes through the gateway,
// client and upstream included, beside a tuned ReverseProxy that does nothing
// else.
func BenchmarkProxy(b *testing.B) {
	answer := strings.Repeat("x", 100)
	up := upstream(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })
	b.Run("gateway", func(b *testing.B) {
		g := New(Config{Verifier: people, Observe: func(Record) {}})
		table, err := Compile([]Route{{Service: "s", Prefix: "/", Roles: []string{"customer"}}})
		if err != nil {
			b.Fatal(err)
		}
		g.SetTable(table)
		g.SetInstances("s", []Instance{up})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error)
		go func() { done <- g.Serve(ctx, ln) }()
		hammer(b, "http://"+ln.Addr().String())
		cancel()
		<-done
	})
	b.Run("reverseproxy", func(b *testing.B) {
		target, _ := url.Parse("http://" + up.Addr)
		transport := newTransport(false)
		defer transport.CloseIdleConnections()
		s := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() }, Transport: transport, BufferPool: pooled{}})
		defer s.Close()
		hammer(b, s.URL)
	})
}

func hammer(b *testing.B, target string) {
	transport := newTransport(false)
	defer transport.CloseIdleConnections()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, _ := http.NewRequest(http.MethodGet, target+"/", nil)
			req.Header.Set("Authorization", "Bearer alice")
			res, err := transport.RoundTrip(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	})
}

// pooled gives net/http's proxy the gateway's own buffers.
type pooled struct{}

func (pooled) Get() []byte  { return bodies.Get().(*[bufferSize]byte)[:] }
func (pooled) Put(p []byte) { bodies.Put((*[bufferSize]byte)(p)) }
