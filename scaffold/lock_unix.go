//go:build unix

package scaffold

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock waits until nobody else adds to the workspace in dir: what is added is worked out
// from what is there. The system gives the lock up however the process ends.
func Lock(dir string) (unlock func(), err error) {
	f, err := os.Open(filepath.Join(dir, "mesh.yaml"))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
