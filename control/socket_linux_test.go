package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestAnotherUsersSocket holds that a socket which is not ours is never taken for
// one that nobody answers at: what runs there must not be swept away.
func TestAnotherUsersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "s")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if os.Getuid() == 0 {
		err = os.Lchown(path, 65534, 65534) // root may connect to it
	} else {
		err = os.Chmod(filepath.Dir(path), 0) // and nobody else may look
		defer os.Chmod(filepath.Dir(path), 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewClient(path).Status(t.Context()); !errors.Is(err, ErrOtherUser) {
		t.Errorf("client: %v", err)
	}
	if _, err := Listen(t.Context(), path); !errors.Is(err, ErrOtherUser) {
		t.Errorf("server: %v", err)
	}
}
