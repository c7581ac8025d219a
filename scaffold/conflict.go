package scaffold

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// ConflictError lists the files that stand in the way of a write. Nothing was
// written.
type ConflictError struct{ Paths []string }

func (e *ConflictError) Error() string {
	return "nothing was written, because these are in the way:\n  " + strings.Join(e.Paths, "\n  ")
}

// plan returns the files that are not there yet as they should be.
func plan(root *os.Root, files []File) ([]File, error) {
	var todo []File
	conflict := &ConflictError{}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return nil, fmt.Errorf("%q is not a path inside the workspace", f.Path)
		}
		switch same, err := inspect(root, f); {
		case err != nil:
			conflict.Paths = append(conflict.Paths, fmt.Sprintf("%s (%v)", f.Path, err))
		case !same:
			todo = append(todo, f)
		}
	}
	if len(conflict.Paths) > 0 {
		return nil, conflict
	}
	return todo, nil
}

// inspect reports whether f is already there, or the reason why it cannot be
// written.
func inspect(root *os.Root, f File) (same bool, err error) {
	info, err := root.Lstat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.Old != nil:
		return false, errors.New("is gone")
	case errors.Is(err, fs.ErrNotExist):
		return false, checkFolders(root, path.Dir(f.Path))
	case err != nil:
		return false, reason(err)
	case !info.Mode().IsRegular():
		return false, errors.New("is not a regular file")
	}
	now, err := root.ReadFile(f.Path)
	switch {
	case err != nil:
		return false, reason(err)
	case bytes.Equal(now, f.Data):
		return true, nil
	case f.Old == nil:
		return false, errors.New("exists")
	case !bytes.Equal(now, f.Old):
		return false, errors.New("has changed meanwhile")
	}
	return false, nil
}

// checkFolders makes sure that the folders on the way to a new file are
// folders, or can be made.
func checkFolders(root *os.Root, dir string) error {
	for ; dir != "."; dir = path.Dir(dir) {
		info, err := root.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return reason(err)
		case !info.IsDir():
			return fmt.Errorf("%s is not a folder", dir)
		}
	}
	return nil
}

// reason is err without the path, which the caller names.
func reason(err error) error {
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return pathErr.Err
	}
	if linkErr := (*os.LinkError)(nil); errors.As(err, &linkErr) {
		return linkErr.Err
	}
	return err
}
