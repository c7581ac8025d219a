package workspace

import (
	"os"
	"path/filepath"
	"testing"
)

// TestAMarkIsItsRuns: a guard that has removed what its daemon left takes no newer
// daemon's mark away.
func TestAMarkIsItsRuns(t *testing.T) {
	s := openState(t, filepath.Join(t.TempDir(), ".mesh"))
	mark := func(run string) {
		t.Helper()
		if err := s.markContainers(run); err != nil {
			t.Fatal(err)
		}
	}
	mark("newer")
	if err := unmarkRun(s.Dir, "older"); err != nil || !MayHaveLeft(s.Dir) {
		t.Errorf("the mark of a newer run is gone: %v", err)
	}
	if err := unmarkRun(s.Dir, "newer"); err != nil || MayHaveLeft(s.Dir) {
		t.Errorf("the run's own mark stays: %v", err)
	}
	if err := unmarkRun(s.Dir, "newer"); err != nil {
		t.Errorf("where there is none: %v", err)
	}
	if _, err := os.Stat(s.Dir); err != nil {
		t.Error(err)
	}
}
