package build

import (
	"errors"
	"os"
	"path/filepath"
)

// What a build makes for itself below Bin, beside the services' folders.
const (
	outputs = ".build-*"  // folders
	works   = "go-*.work" // files
)

// Sweep removes what builds have left that a killed mesh had begun. No build may run:
// whoever calls it has the state folder for itself.
func (b *Builder) Sweep() error {
	entries, err := os.ReadDir(b.Bin)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if leftover(e) {
			errs = append(errs, os.RemoveAll(filepath.Join(b.Bin, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// leftover tells them by what they are, too: .build-x.inputs is kept for a service
// called build-x.
func leftover(e os.DirEntry) bool {
	output, _ := filepath.Match(outputs, e.Name())
	work, _ := filepath.Match(works, e.Name())
	return output && e.IsDir() || work && e.Type().IsRegular()
}
