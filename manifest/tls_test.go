package manifest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/testcert"
)

// certified is a workspace with a certificate.
func certified(t *testing.T, yaml string, o testcert.Options) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := testcert.Write(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), o); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, WorkspaceFile), []byte("version: 1\nname: x\nservices: {a: {run: a}}\n"+yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTLS(t *testing.T) {
	const yaml = "gateway: {tls: {cert: cert.pem, key: key.pem}}\n"
	now := time.Now()
	for _, tt := range []struct {
		name, yaml string
		options    testcert.Options
		want, warn string
	}{
		{"good", yaml, testcert.Options{}, "", ""},
		{"expired", yaml, testcert.Options{From: now.Add(-2 * time.Hour), To: now.Add(-time.Hour)}, "mesh.yaml:4:23: cert.pem: the certificate was valid until ", ""},
		{"swapped", "gateway: {tls: {cert: key.pem, key: cert.pem}}\n", testcert.Options{}, "mesh.yaml:4:23: key.pem: it holds no certificate", ""},
		{"half", "gateway: {tls: {cert: cert.pem}}\n", testcert.Options{}, "mesh.yaml:4:16: gateway.tls takes both cert and key: key is missing", ""},
		{"another name", yaml, testcert.Options{Names: []string{"shop.test"}}, "", "mesh.yaml:4:23: cert.pem is for none of the gateway's names (localhost, 127.0.0.1)"},
		{"a name of gateway.hosts", "gateway: {hosts: [shop.test], tls: {cert: cert.pem, key: key.pem}}\n", testcert.Options{Names: []string{"shop.test"}}, "", ""},
	} {
		dir := certified(t, tt.yaml, tt.options)
		ws, err := Load(dir)
		switch {
		case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		case err == nil && (len(ws.Warnings) > 0) != (tt.warn != ""), tt.warn != "" && !strings.HasPrefix(ws.Warnings[0].String(), tt.warn):
			t.Errorf("%s: warned of %v, want %q", tt.name, ws.Warnings, tt.warn)
		}
		if err != nil {
			continue
		}
		if pair, ok := ws.KeyPair(); !ok || pair.Cert != filepath.Join(dir, "cert.pem") {
			t.Errorf("%s: %+v", tt.name, pair)
		}
	}
}
