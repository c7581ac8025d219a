package scaffold_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/ebef7166/mesh/scaffold"
)

// asNobody runs f with the file permissions of another user, also where the
// tests run as root, who may write everywhere.
func asNobody(t *testing.T, f func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := errors.Join(syscall.Setfsgid(65534), syscall.Setfsuid(65534)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(syscall.Setfsuid(0), syscall.Setfsgid(0)); err != nil {
			t.Fatal(err)
		}
	}()
	return f()
}

func TestWriteIsAllOrNothing(t *testing.T) {
	edit := scaffold.File{Path: "go.work", Data: []byte("new"), Old: []byte("old")}
	for name, test := range map[string]struct {
		root, services, work os.FileMode
	}{
		"the root is read-only":     {0o555, 0o777, 0o666},
		"the services are":          {0o777, 0o555, 0o666},
		"go.work is another user's": {0o777 | os.ModeSticky, 0o777, 0o644},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 && test.root&os.ModeSticky != 0 {
				t.Skip("another user's file takes root to make")
			}
			dir := filepath.Join(openTempDir(t), "workspace")
			put(t, filepath.Join(dir, "go.work"), "old")
			put(t, filepath.Join(dir, "services", "kept"), "kept")
			before := tree(t, dir)
			chmod(t, filepath.Join(dir, "go.work"), test.work)
			chmod(t, filepath.Join(dir, "services"), test.services)
			chmod(t, dir, test.root)

			err := asNobody(t, func() error {
				return scaffold.Write(dir, []scaffold.File{file("services/cart/main.go", "x"), edit, file("services/cart/a/b", "x")})
			})
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("Write = %v, want a lack of permission", err)
			}
			if after := tree(t, dir); !maps.Equal(after, before) {
				t.Errorf("left %v, there was %v", after, before)
			}
			if _, err := os.Lstat(filepath.Join(dir, "services", "cart")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("an empty folder stays")
			}
		})
	}
}

// openTempDir is a temporary folder that other users may pass through.
func openTempDir(t *testing.T) string {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		chmod(t, d, 0o755)
	}
	return dir
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(path, 0o755) })
}
