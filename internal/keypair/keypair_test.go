package keypair

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/testcert"
)

func pair(t *testing.T, o testcert.Options) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	if err := testcert.Write(p.Cert, p.Key, o); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFaultsAreNamed(t *testing.T) {
	good, other := pair(t, testcert.Options{}), pair(t, testcert.Options{})
	now := time.Now()
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	encrypted := filepath.Join(t.TempDir(), "encrypted.pem")
	broken := filepath.Join(t.TempDir(), "broken.pem")
	for path, text := range map[string]string{
		garbage:   "nothing of the kind\n",
		encrypted: "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		broken:    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		pair Pair
		key  bool
		want string // "" for none
	}{
		{"good", good, false, ""},
		{"no certificate", Pair{Cert: "nowhere", Key: good.Key}, false, "no such file"},
		{"no key", Pair{Cert: good.Cert, Key: "nowhere"}, true, "no such file"},
		{"a folder", Pair{Cert: t.TempDir(), Key: good.Key}, false, "not a regular file"},
		{"garbage for a certificate", Pair{Cert: garbage, Key: good.Key}, false, "holds no certificate"},
		{"a certificate that does not parse", Pair{Cert: broken, Key: good.Key}, false, "no certificate that can be read"},
		{"the key in its place", Pair{Cert: good.Key, Key: good.Key}, false, "holds no certificate"},
		{"the certificate for a key", Pair{Cert: good.Cert, Key: good.Cert}, true, "no private key"},
		{"another key", Pair{Cert: good.Cert, Key: other.Key}, true, "not the private key of the certificate"},
		{"an encrypted key", Pair{Cert: good.Cert, Key: encrypted}, true, "without a passphrase"},
		{"expired", pair(t, testcert.Options{From: now.Add(-2 * time.Hour), To: now.Add(-time.Hour)}), false, "was valid until"},
		{"not yet valid", pair(t, testcert.Options{From: now.Add(time.Hour), To: now.Add(2 * time.Hour)}), false, "still to come"},
	} {
		_, err := tt.pair.Load(now)
		var fault *Fault
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (!errors.As(err, &fault) || fault.Key != tt.key || !strings.Contains(fault.Reason, tt.want)):
			t.Errorf("%s: %#v, want %q of the key: %t", tt.name, err, tt.want, tt.key)
		}
	}
}

func TestName(t *testing.T) {
	cert, err := pair(t, testcert.Options{Names: []string{"localhost", "shop.test"}}).Load(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := Name(cert, "127.0.0.1", "localhost"); got != "localhost" {
		t.Errorf("got %q", got)
	}
	if got := Name(cert, "127.0.0.1"); got != "" {
		t.Errorf("got %q", got)
	}
}

// TestSourceReadsAgain holds that a new pair is taken once it is whole, and that
// half of one changes nothing.
func TestSourceReadsAgain(t *testing.T) {
	p := pair(t, testcert.Options{})
	s, err := NewSource(p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	first := s.Certificate()
	if s.Certificate() != first {
		t.Error("read again without a change")
	}
	next := pair(t, testcert.Options{Names: []string{"next.test"}})
	replace := func(to, from string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	replace(p.Cert, next.Cert)
	if s.Certificate() != first {
		t.Error("a certificate was taken without its key")
	}
	replace(p.Key, next.Key)
	if got := s.Certificate(); Name(got, "next.test") == "" {
		t.Errorf("still for %v", got.Leaf.DNSNames)
	}
	if err := os.Remove(p.Key); err != nil {
		t.Fatal(err)
	}
	if got := s.Certificate(); Name(got, "next.test") == "" {
		t.Error("lost with its file")
	}
}

// TestTrusting holds that a client of this machine reaches a server whose
// certificate is for another name, and no other server.
func TestTrusting(t *testing.T) {
	p, other := pair(t, testcert.Options{Names: []string{"shop.test"}}), pair(t, testcert.Options{Names: []string{"shop.test"}})
	client, err := Trusting(p.Cert, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		server Pair
		fails  bool
	}{{p, false}, {other, true}} {
		s, err := NewSource(tt.server, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := handshake(s.Server(), client); (err != nil) != tt.fails {
			t.Errorf("%v: %v", tt, err)
		}
	}
	if _, err := Trusting(p.Key, "localhost"); err == nil {
		t.Error("trusts a key")
	}
}

func TestHandshakes(t *testing.T) {
	p := pair(t, testcert.Options{})
	s, err := NewSource(p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	trusting, err := Trusting(p.Cert, "localhost")
	if err != nil {
		t.Fatal(err)
	}
	trusting.ServerName = "localhost"
	for name, tt := range map[string]struct {
		change func(*tls.Config)
		want   string // protocol
		fails  bool
	}{
		"h2":               {func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, "h2", false},
		"http/1.1":         {func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, "http/1.1", false},
		"without ALPN":     {func(*tls.Config) {}, "", false},
		"another protocol": {func(c *tls.Config) { c.NextProtos = []string{"spdy/3"} }, "", true},
		"TLS 1.2":          {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "", false},
		"TLS 1.1":          {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, "", true},
		"a bad cipher": {func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		}, "", true},
		"another name":       {func(c *tls.Config) { c.ServerName = "evil.test" }, "", true},
		"who trusts nothing": {func(c *tls.Config) { c.RootCAs = x509.NewCertPool() }, "", true},
	} {
		config := trusting.Clone()
		tt.change(config)
		protocol, err := handshake(s.Server(), config)
		if (err != nil) != tt.fails || protocol != tt.want {
			t.Errorf("%s: %q, %v", name, protocol, err)
		}
	}
}

// handshake goes over TCP: on a pipe, two sides that both have something to say
// wait for each other.
func handshake(server, client *tls.Config) (protocol string, err error) {
	ln, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return "", err
	}
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := ln.Accept(); err == nil {
			defer conn.Close()
			_ = conn.(*tls.Conn).Handshake()
		}
	}()
	defer func() { <-done }()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().NegotiatedProtocol, nil
}
