package keypair

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Source is a pair that is read again once its files have changed. It looks at
// them at each handshake, which costs a thousand times more than that, so that it
// needs nobody to watch them and misses no way of replacing a file.
type Source struct {
	pair Pair
	log  *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]stamp // the files that were read last, whether they were good or not
}

// stamp tells one content of a file from the next; nil: there is no such file.
type stamp os.FileInfo

// NewSource reads a pair for the first time; the error is a *Fault. log is told
// when it was read again, or could not be: then the certificate before it holds.
func NewSource(p Pair, log *slog.Logger) (*Source, error) {
	s := &Source{pair: p, log: log, seen: p.stamps()}
	var err error
	s.current, err = p.Load(time.Now())
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate returns the newest certificate.
func (s *Source) Certificate() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.pair.stamps()
	if same(now, s.seen) {
		return s.current
	}
	s.seen = now
	next, err := s.pair.Load(time.Now())
	if err != nil {
		// One file of two may have been written so far: the other will change, too.
		s.log.Warn("the certificate was not read again; the one before it holds", "cert", s.pair.Cert, "key", s.pair.Key, "error", err)
		return s.current
	}
	s.current = next
	s.log.Info("the certificate was read again", "cert", s.pair.Cert, "until", next.Leaf.NotAfter)
	return s.current
}

func (p Pair) stamps() (all [2]stamp) {
	for i, path := range []string{p.Cert, p.Key} {
		if info, err := os.Stat(path); err == nil {
			all[i] = info
		}
	}
	return all
}

// same also asks whether it is the same file: one that was renamed into place may
// be older than the one before it.
func same(a, b [2]stamp) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != b[i] {
				return false
			}
			continue
		}
		if !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() || !os.SameFile(a[i], b[i]) {
			return false
		}
	}
	return true
}

// Server is how a server offers the certificate: HTTP/2 and HTTP/1.1 by ALPN (RFC
// 7301), TLS 1.2 or newer, and of 1.2 only what HTTP/2 permits (RFC 9113, 9.2.2).
func (s *Source) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.Certificate(), nil },
	}
}

// Trusting is how a client on this machine trusts the certificates of a file,
// beside those that the machine trusts. Where the certificate is not for host, the
// address at which the server is reached, it need only be for a name of its own.
func Trusting(file, host string) (*tls.Config, error) {
	data, err := read(file)
	if err != nil {
		return nil, err
	}
	leaf, err := firstCertificate(data)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM(data)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if names := namesOf(leaf); leaf.VerifyHostname(host) != nil && len(names) > 0 {
		config.ServerName = names[0]
	}
	return config, nil
}

func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
