// Package walk goes through folders as filepath.WalkDir does, into one that is
// itself a symbolic link too.
package walk

import (
	"io/fs"
	"path/filepath"
)

// Dir calls see with root and all that lies below it, by paths that begin with root
// as it was given. Links below it are told of and not followed.
func Dir(root string, see fs.WalkDirFunc) error {
	through := root + string(filepath.Separator) // names what a link leads to
	return filepath.WalkDir(through, func(path string, d fs.DirEntry, err error) error {
		if path == through {
			path = root
		}
		return see(path, d, err)
	})
}
