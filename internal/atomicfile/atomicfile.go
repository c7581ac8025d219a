// Package atomicfile writes files whole or not at all.
package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces the file called name by one that holds data: readers see the
// old content or the new, never a part. The file is synced before it takes the
// name. A symlink at name is replaced, not followed.
func Write(name string, data []byte, mode fs.FileMode) (err error) {
	// The random part of the name makes it unpredictable, and O_EXCL refuses
	// what waits there.
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
