package manifest

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/ebef7166/mesh/internal/keypair"
)

// KeyPair are the files of the gateway's certificate, with absolute paths; ok is
// false where it has none.
func (w *Workspace) KeyPair() (pair keypair.Pair, ok bool) {
	t := w.Gateway.TLS
	if t == nil {
		return pair, false
	}
	return keypair.Pair{Cert: absolute(w.Dir, t.Cert), Key: absolute(w.Dir, t.Key)}, true
}

// absolute is a path of a manifest in dir.
func absolute(dir, name string) string {
	name = filepath.FromSlash(name)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// checkTLS reads the certificate, so that what is wrong with it is told before
// anything is started.
func (l *loader) checkTLS() {
	t := l.ws.Gateway.TLS
	if t == nil {
		return
	}
	for key, name := range map[string]string{"cert": t.Cert, "key": t.Key} {
		if name == "" {
			l.problems = append(l.problems, l.source.problem([]any{"gateway", "tls"}, "gateway.tls takes both cert and key: %s is missing", key))
		}
	}
	if t.Cert == "" || t.Key == "" {
		return
	}
	pair, _ := l.ws.KeyPair()
	cert, err := pair.Load(time.Now())
	var fault *keypair.Fault
	if errors.As(err, &fault) {
		key, name := "cert", t.Cert
		if fault.Key {
			key, name = "key", t.Key
		}
		l.problems = append(l.problems, l.source.problem([]any{"gateway", "tls", key}, "%s: %s", name, fault.Reason))
		return
	}
	if names := l.ws.Gateway.names(); keypair.Name(cert, names...) == "" {
		l.ws.Warnings = append(l.ws.Warnings, l.source.problem([]any{"gateway", "tls", "cert"},
			"%s is for none of the gateway's names (%s): no client will trust it here", t.Cert, strings.Join(names, ", ")))
	}
}

// names are those that a client may call the gateway by, the likeliest first.
func (g *Gateway) names() []string {
	names := []string{"localhost", "127.0.0.1"}
	if host, _, err := net.SplitHostPort(g.Address); err == nil && host != "" && host != "127.0.0.1" {
		names = append([]string{host}, names...)
	}
	return append(names, g.Hosts...)
}
