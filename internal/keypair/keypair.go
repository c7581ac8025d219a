// Package keypair reads a certificate with its private key from two PEM files
// (RFC 7468), says in a person's words what is wrong with them, and reads them
// again when they change.
package keypair

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Pair names the files.
type Pair struct {
	Cert string // the certificate, and behind it those that it was issued by
	Key  string // its private key: PKCS #8, PKCS #1 or SEC 1
}

// Fault says what is wrong with a pair.
type Fault struct {
	Key    bool // it is the key's file that is at fault, and not the certificate's
	Reason string
}

func (f *Fault) Error() string { return f.Reason }

// Load reads a pair and holds that the key is the certificate's and that the
// certificate is valid now. The error is a *Fault.
func (p Pair) Load(now time.Time) (*tls.Certificate, error) {
	certPEM, err := read(p.Cert)
	if err != nil {
		return nil, &Fault{Reason: err.Error()}
	}
	keyPEM, err := read(p.Key)
	if err != nil {
		return nil, &Fault{Key: true, Reason: err.Error()}
	}
	leaf, err := firstCertificate(certPEM)
	if err != nil {
		return nil, &Fault{Reason: err.Error()}
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, &Fault{Key: true, Reason: keyFault(keyPEM, err)}
	}
	if reason := outOfDate(leaf, now); reason != "" {
		return nil, &Fault{Reason: reason}
	}
	cert.Leaf = leaf
	return &cert, nil
}

// maxFile bounds what is read: chains are a few KiB.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file")
	case err != nil:
		return nil, fmt.Errorf("it cannot be read: %w", plain(err))
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > maxFile:
		return nil, errors.New("it is larger than 1 MiB, which no certificate is")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", plain(err))
	}
	return data, nil
}

// plain leaves out the path, which whoever asks names in their own way.
func plain(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}

func firstCertificate(data []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("it holds no certificate that can be read: %w", err)
			}
			return leaf, nil
		}
	}
	return nil, errors.New("it holds no certificate (a block -----BEGIN CERTIFICATE-----)")
}

// keyFault tells a file that holds no key from the key of another certificate.
func keyFault(keyPEM []byte, err error) string {
	for block, rest := pem.Decode(keyPEM); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return "the private key is encrypted: give it without a passphrase"
		case parses(block.Bytes):
			return "it is not the private key of the certificate"
		}
	}
	return "it holds no private key that can be read: " + err.Error()
}

func parses(der []byte) bool {
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, pkcs1 := x509.ParsePKCS1PrivateKey(der)
	_, sec1 := x509.ParseECPrivateKey(der)
	return pkcs8 == nil || pkcs1 == nil || sec1 == nil
}

func outOfDate(leaf *x509.Certificate, now time.Time) string {
	switch {
	case now.After(leaf.NotAfter):
		return "the certificate was valid until " + leaf.NotAfter.Format(time.RFC3339) + ": make a new one"
	case now.Before(leaf.NotBefore):
		return "the certificate is valid from " + leaf.NotBefore.Format(time.RFC3339) + ", which is still to come"
	}
	return ""
}

// Name is the first of names that a certificate is for (RFC 9525), or "".
func Name(cert *tls.Certificate, names ...string) string {
	for _, name := range names {
		if cert.Leaf.VerifyHostname(name) == nil {
			return name
		}
	}
	return ""
}
