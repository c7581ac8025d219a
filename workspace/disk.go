package workspace

import (
	"fmt"
	"path/filepath"
)

// leastFree is how much a disk must have left for a start: less, and the broker
// or a database fails with words of its own.
const leastFree = 1 << 20

// DiskFullError says that the disk with the state folder is full.
type DiskFullError struct {
	Dir  string
	Free uint64 // bytes
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("the disk of %s is full: %d KiB are left, and mesh keeps databases, events, programs and logs there", e.Dir, e.Free>>10)
}

// checkRoom refuses a state folder, which may not exist yet, on a disk that is
// full. Where that cannot be told it says nothing.
func checkRoom(dir string, free func(dir string) (bytes uint64, known bool)) error {
	left, known := free(dir)
	if !known {
		left, known = free(filepath.Dir(dir))
	}
	if known && left < leastFree {
		return &DiskFullError{dir, left}
	}
	return nil
}
