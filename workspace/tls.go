package workspace

import (
	"crypto/tls"
	"fmt"
	"net"

	"github.com/ebef7166/mesh/internal/keypair"
)

// openCertificate reads the gateway's certificate, if it has one.
func (w *Workspace) openCertificate() (err error) {
	pair, ok := w.manifest.KeyPair()
	if !ok {
		return nil
	}
	w.certificate, err = keypair.NewSource(pair, w.log.With("part", "gateway"))
	if err != nil {
		return fmt.Errorf("gateway.tls: %w", err)
	}
	return nil
}

// gatewayURL is where people reach the gateway: under a name that its certificate
// is for, if it has one.
func (w *Workspace) gatewayURL(address string) string {
	if w.certificate == nil {
		return "http://" + address
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "https://" + address
	}
	if name := keypair.Name(w.certificate.Certificate(), host, "localhost"); name != "" {
		host = name
	}
	return "https://" + net.JoinHostPort(host, port)
}

// secured speaks TLS on a listener of the gateway's, if it has a certificate.
func (w *Workspace) secured(ln net.Listener) net.Listener {
	if w.certificate == nil {
		return ln
	}
	return tls.NewListener(ln, w.certificate.Server())
}
