//go:build unix

package devgateway

import (
	"path/filepath"
	"syscall"
	"testing"
)

// To open a pipe waits for somebody who writes into it.
func TestAPipeIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Config{}, Route{Static: dir, Prefix: "/", Auth: AuthNone})
	if got := r.do("GET", "/pipe", nil); got.StatusCode != 404 {
		t.Errorf("%s", got.Status)
	}
}
