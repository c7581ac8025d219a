package scaffold

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Write writes files into dir, which is made when missing: all of them or,
// when it returns an error, none. It first looks for everything in the way of
// any of them, and returns a *ConflictError that lists it all. A reader sees
// each file as it was or whole. Nothing is written outside dir: a symlink on
// the way is not followed out of it, one at the end not at all.
func Write(dir string, files []File) (err error) {
	made, err := makeFolders(filepath.Clean(dir), os.Mkdir)
	defer func() {
		if err != nil {
			removeFolders(made, os.Remove)
		}
	}()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	todo, err := plan(root, files)
	if err != nil {
		return err
	}
	tx := &transaction{root: root}
	if err := tx.write(todo); err != nil {
		return errors.Join(err, tx.undo())
	}
	return nil
}

// Missing returns those of files that Write would write to dir: what is there
// already as it should be is left alone. The error is the one that Write would
// return before it wrote anything.
func Missing(dir string, files []File) ([]File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return plan(root, files)
}

// transaction is a write under way: what it has done, so that it can be undone.
type transaction struct {
	root    *os.Root
	folders []string // made, outer first
	staged  []staged // written under a name of their own, in the folder where they belong
	placed  int      // how many of staged have been given their final name
}

type staged struct {
	File
	temp string
}

// write stages every file before it places the first. What is left to fail then
// is rare: a rename in a folder that has just taken a file. Files that are
// replaced come last, since a new one is undone by removing it.
func (tx *transaction) write(files []File) error {
	for _, f := range files {
		if err := tx.stage(f); err != nil {
			return fmt.Errorf("writing %s: %w", f.Path, reason(err))
		}
	}
	slices.SortStableFunc(tx.staged, func(a, b staged) int { return len(a.Old) - len(b.Old) })
	for _, s := range tx.staged {
		if err := tx.place(s); err != nil {
			return fmt.Errorf("writing %s: %w", s.Path, reason(err))
		}
		tx.placed++
	}
	return nil
}

func (tx *transaction) stage(f File) error {
	dir := path.Dir(f.Path)
	made, err := makeFolders(dir, tx.root.Mkdir)
	tx.folders = append(tx.folders, made...)
	if err != nil {
		return err
	}
	s := staged{f, path.Join(dir, "."+rand.Text()+".tmp")}
	w, err := tx.root.OpenFile(s.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	tx.staged = append(tx.staged, s)
	_, err = w.Write(f.Data)
	return errors.Join(err, w.Close())
}

func (tx *transaction) place(s staged) error {
	if s.Old == nil {
		if _, err := tx.root.Lstat(s.Path); err == nil {
			return fs.ErrExist
		}
	}
	return tx.root.Rename(s.temp, s.Path)
}

// undo leaves everything as it was, save a folder of ours into which somebody
// else has put something meanwhile.
func (tx *transaction) undo() error {
	var errs []error
	for i, s := range tx.staged {
		switch {
		case i >= tx.placed:
			errs = append(errs, tx.root.Remove(s.temp))
		case s.Old == nil:
			errs = append(errs, tx.root.Remove(s.Path))
		default:
			errs = append(errs, tx.root.WriteFile(s.Path, s.Old, 0o644))
		}
	}
	removeFolders(tx.folders, tx.root.Remove)
	return errors.Join(errs...)
}

// makeFolders makes dir and what is missing above it, and returns what it made,
// outer first.
func makeFolders(dir string, mkdir func(string, fs.FileMode) error) (made []string, err error) {
	err = mkdir(dir, 0o755)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if made, err = makeFolders(parent, mkdir); err != nil {
			return made, err
		}
		err = mkdir(dir, 0o755)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return made, nil
	case err != nil:
		return made, err
	}
	return append(made, dir), nil
}

func removeFolders(made []string, remove func(string) error) {
	for _, dir := range slices.Backward(made) {
		_ = remove(dir)
	}
}
