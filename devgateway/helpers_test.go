package devgateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/internal/keypair"
	"github.com/ebef7166/mesh/internal/testcert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tokens is a verifier that knows a few tokens by heart.
type tokens map[string]Identity

func (t tokens) Verify(_ context.Context, token string) (*Identity, error) {
	if id, ok := t[token]; ok {
		return &id, nil
	}
	return nil, errors.New("the token is not known")
}

var people = tokens{
	"alice": {Subject: "alice", Email: "alice@example.test", Roles: []string{"customer", "beta"}, Scopes: []string{"read"}},
	"admin": {Subject: "admin", Roles: []string{"admin"}},
}

// rig is a gateway on a real listener.
type rig struct {
	*Gateway
	t    *testing.T
	addr string
	url  string

	dial func() (net.Conn, error)
	pair keypair.Pair // of a rig with TLS

	client *http.Client // HTTP/1.1
	h2     *http.Client // HTTP/2
	stop   func()

	flooding atomic.Pointer[framer] // who floods the gateway now

	mu      sync.Mutex
	records []Record
	known   map[string]bool // services that are expected to have instances
	hold    time.Duration   // how long their requests wait
}

// SetInstances replaces the instances of all services. One that is a key
// without instances is expected to have one soon.
func (r *rig) SetInstances(services map[string][]Instance) {
	r.mu.Lock()
	gone := r.known
	r.known = map[string]bool{}
	for name := range services {
		r.known[name] = true
		delete(gone, name)
	}
	r.mu.Unlock()
	for name, instances := range services {
		r.Gateway.SetInstances(name, instances)
	}
	for name := range gone {
		r.Gateway.SetInstances(name, nil)
	}
}

func (r *rig) patience(service string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known[service] {
		return 0
	}
	return r.hold
}

// setCORS says the same for all that there is.
func (r *rig) setCORS(c CORS) {
	r.t.Helper()
	r.SetCORS(c)
	routes := r.Routes()
	for i := range routes {
		routes[i].CORS = c
	}
	r.setRoutes(routes...)
}

func (r *rig) setRoutes(routes ...Route) {
	r.t.Helper()
	table, err := Compile(routes)
	if err != nil {
		r.t.Fatal(err)
	}
	r.SetTable(table)
}

func newRig(t *testing.T, config Config, routes ...Route) *rig {
	t.Helper()
	r := prepareRig(t, config, routes...)
	r.addr, r.stop = r.listen(func(ctx context.Context, ln net.Listener) error { return r.Serve(ctx, ln) })
	r.url = "http://" + r.addr
	r.dial = func() (net.Conn, error) { return net.Dial("tcp", r.addr) }
	return r
}

// newTLSRig is a gateway that is reached by TLS alone, with clients that trust it.
func newTLSRig(t *testing.T, config Config, routes ...Route) *rig {
	t.Helper()
	r := prepareRig(t, config, routes...)
	dir := t.TempDir()
	r.pair = keypair.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	if err := testcert.Write(r.pair.Cert, r.pair.Key, testcert.Options{}); err != nil {
		t.Fatal(err)
	}
	source, err := keypair.NewSource(r.pair, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	trusting, err := keypair.Trusting(r.pair.Cert, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for client, protocol := range map[*http.Client]string{r.client: "http/1.1", r.h2: "h2"} {
		transport := client.Transport.(*http.Transport)
		transport.TLSClientConfig = trusting.Clone()
		transport.TLSClientConfig.NextProtos = []string{protocol}
		transport.Protocols.SetHTTP2(protocol == "h2")
	}
	r.addr, r.stop = r.listen(func(ctx context.Context, ln net.Listener) error {
		return r.Serve(ctx, tls.NewListener(ln, source.Server()))
	})
	r.url = "https://" + r.addr
	r.dial = func() (net.Conn, error) { return tls.Dial("tcp", r.addr, trusting) }
	return r
}

func prepareRig(t *testing.T, config Config, routes ...Route) *rig {
	t.Helper()
	r := &rig{t: t, hold: time.Second, client: &http.Client{Transport: newTransport(false)}, h2: &http.Client{Transport: newTransport(true)}}
	if config.Verifier == nil {
		config.Verifier = people
	}
	config.Observe, config.Hold = r.observe, r.patience
	r.Gateway = New(config)
	r.setRoutes(routes...)
	return r
}

// listen runs serve on a free port until the test is over, or the returned
// function is called.
func (r *rig) listen(serve func(context.Context, net.Listener) error) (addr string, stop func()) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("serve: %v", err)
		}
	})
	r.t.Cleanup(func() {
		r.client.CloseIdleConnections()
		r.h2.CloseIdleConnections()
		stop()
	})
	return ln.Addr().String(), stop
}

// link serves a link.
func (r *rig) link(caller, callee string) func(context.Context, net.Listener) error {
	return func(ctx context.Context, ln net.Listener) error { return r.ServeLink(ctx, ln, caller, callee) }
}

func (r *rig) observe(record Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
}

// upstream starts a server that speaks HTTP/1.1 and h2c.
func upstream(t testing.TB, h http.HandlerFunc) Instance {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	return Instance{ID: "i-" + addr, Addr: addr}
}

// one makes the set of a single service.
func one(service string, instances ...Instance) map[string][]Instance {
	return map[string][]Instance{service: instances}
}

// seen answers with what a service saw.
func seen(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	for name, values := range r.Header {
		w.Header()["Seen-"+name] = values
	}
	w.Header().Set("Seen-Target", r.RequestURI)
	w.Header().Set("Seen-Method", r.Method)
	_, _ = io.WriteString(w, "hello")
}

type reply struct {
	*http.Response
	body string
}

func (r *rig) do(method, target string, body io.Reader, header ...string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+target, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return read(r.t, res)
}

func read(t testing.TB, res *http.Response) reply {
	t.Helper()
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res, string(text)}
}

// send opens a connection and sends a request on it, whose lines end in LF here.
func (r *rig) send(request string) net.Conn {
	r.t.Helper()
	conn, err := r.dial()
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(20 * time.Second))
	}
	if err == nil {
		_, err = io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return conn
}

// talk sends a request and returns all that comes until the gateway closes.
func (r *rig) talk(request string) string {
	r.t.Helper()
	conn := r.send(request)
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	if isTimeout(err) {
		r.t.Errorf("%q: still open after %q", request, answer)
	}
	return string(answer)
}

// raw sends bytes as they are and reads one answer.
func (r *rig) raw(request string) reply {
	r.t.Helper()
	conn := r.send(request)
	defer conn.Close()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return read(r.t, res)
}

// trust makes the gateway trust more certificates of outside URLs.
func (r *rig) trust(roots *x509.CertPool) {
	fresh := newTransport(false)
	fresh.TLSClientConfig = &tls.Config{RootCAs: roots}
	r.http1 = fresh
}

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

// pipeListener hands a server connections in memory, each for one request.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// send sends a request on a connection of its own and waits until the server has
// closed it.
func (l *pipeListener) send(request string) error {
	client, server := net.Pipe()
	defer client.Close()
	l.conns <- server
	sent := make(chan struct{})
	go func() { defer close(sent); _, _ = io.WriteString(client, request) }()
	if err := client.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, client)
	client.Close()
	<-sent
	if isTimeout(err) {
		return fmt.Errorf("no end after %q", request)
	}
	return nil
}
