package build

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSweepLeavesWhatIsKept: what a killed mesh left of its builds goes, and nothing
// else does.
func TestSweepLeavesWhatIsKept(t *testing.T) {
	b := &Builder{Bin: t.TempDir()}
	is := map[string]bool{ // whether it stays
		".build-123/server": false, "go-123.work": false,
		".build-x.inputs": true, "build-x/v1": true, "go-x/v1": true,
	}
	for name := range is {
		path := filepath.Join(b.Bin, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Sweep(); err != nil {
		t.Fatal(err)
	}
	for name, stays := range is {
		if _, err := os.Stat(filepath.Join(b.Bin, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, _ := os.ReadDir(b.Bin); len(entries) != 3 {
		t.Errorf("%v", entries)
	}
}
