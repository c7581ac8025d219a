//go:build linux || darwin

package workspace

import "golang.org/x/sys/unix"

// freeBytes is what a user may still write to the disk of dir. It is not known
// of file systems that do not count blocks.
func freeBytes(dir string) (bytes uint64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil || s.Blocks == 0 {
		return 0, false
	}
	return s.Bavail * uint64(s.Bsize), true
}
