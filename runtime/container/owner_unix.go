//go:build unix

package container

import (
	"fmt"
	"os"
	"syscall"
)

// ownedBy says what to do about a folder that belongs to somebody else.
func ownedBy(dir string, uid int) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != uid {
		return fmt.Errorf("%s belongs to user %d, and the container runs as %d, which could not write there: let the manifest's user be %[2]d, or give the folder away (sudo chown -R %[3]d %[1]s)", dir, stat.Uid, uid)
	}
	return nil
}
