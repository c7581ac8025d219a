package devgateway

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/internal/testcert"
)

func TestTLS(t *testing.T) {
	r := newTLSRig(t, Config{}, Route{Service: "s", Prefix: "/"})
	r.SetInstances(one("s", upstream(t, seen)))
	for protocol, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2.0": r.h2} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/x", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer alice")
		req.Header.Set("X-Forwarded-Proto", "http")
		res, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		got := read(t, res)
		if got.StatusCode != http.StatusOK || got.Proto != protocol || got.TLS.Version != tls.VersionTLS13 {
			t.Errorf("%s: %s by %s", protocol, got.Status, got.Proto)
		}
		if h := got.Header.Get("Seen-X-Forwarded-Proto"); h != "https" {
			t.Errorf("%s: X-Forwarded-Proto arrived as %q", protocol, h)
		}
	}
}

// What ALPN agreed on is what must be spoken: a proxy in front of the gateway has
// looked at nothing else.
func TestALPNIsBinding(t *testing.T) {
	r := newTLSRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, seen)))
	for name, tt := range map[string]struct{ agreed, sent string }{
		"HTTP/1.1 after h2": {"h2", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		"h2 after HTTP/1.1": {"http/1.1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
	} {
		config := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
		config.NextProtos = []string{tt.agreed}
		statuses, closed := converse(t, func() (net.Conn, error) { return tls.Dial("tcp", r.addr, config) }, tt.sent, len(tt.sent))
		if len(statuses) != 1 || statuses[0] != http.StatusBadRequest || !closed {
			t.Errorf("%s: %v, closed: %t", name, statuses, closed)
		}
	}
}

func TestPlainHTTPIsToldToUseTLS(t *testing.T) {
	r := newTLSRig(t, Config{}, Route{Service: "s", Prefix: "/"})
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "https://") {
		t.Errorf("%q", answer)
	}
}

func TestANewCertificateIsOfferedToNewConnections(t *testing.T) {
	r := newTLSRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, seen)))
	before := r.do("GET", "/", nil).TLS.PeerCertificates[0]
	if err := testcert.Write(r.pair.Cert, r.pair.Key, testcert.Options{}); err != nil {
		t.Fatal(err)
	}
	if now := r.do("GET", "/", nil).TLS.PeerCertificates[0]; !now.Equal(before) {
		t.Error("an open connection has another certificate")
	}
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.ConnectionState().PeerCertificates[0].Equal(before) {
		t.Error("a new connection got the old certificate")
	}
}

// TestPlainHTTPIsToldOnce what the address speaks.
func TestPlainHTTPIsToldOnce(t *testing.T) {
	r := newTLSRig(t, Config{})
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+r.addr+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(conn)
	if n := strings.Count(string(said), "HTTP/1.1 400"); n != 1 || !strings.Contains(string(said), "https://") {
		t.Errorf("%d times: %s", n, said)
	}
}
