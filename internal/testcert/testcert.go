// Package testcert makes certificates for tests.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"time"
)

// Options of a certificate. The zero Options are of one for loopback that is
// valid for an hour.
type Options struct {
	Names    []string // DNS names and addresses; localhost, 127.0.0.1 and ::1 unless given
	From, To time.Time
}

// Write makes a certificate that is signed by itself and writes it and its key as
// PEM, for this user alone.
func Write(certFile, keyFile string, o Options) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template, err := o.template()
	if err != nil {
		return err
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(write(certFile, "CERTIFICATE", cert), write(keyFile, "PRIVATE KEY", private))
}

func (o Options) template() (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	if o.Names == nil {
		o.Names = []string{"localhost", "127.0.0.1", "::1"}
	}
	if o.From.IsZero() {
		o.From = time.Now().Add(-time.Minute)
	}
	if o.To.IsZero() {
		o.To = time.Now().Add(time.Hour)
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "mesh test"}, NotBefore: o.From, NotAfter: o.To,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	for _, name := range o.Names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	return t, nil
}

func write(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
