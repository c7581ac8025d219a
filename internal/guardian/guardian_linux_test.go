package guardian

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestPrepare looks at how many files the table has room for (proc(5), FDSize).
func TestPrepare(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	prepare()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "\nFDSize:")
	var size uint64
	if _, err := fmt.Sscan(after, &size); err != nil || size < min(manyFiles, limit.Cur) {
		t.Errorf("room for %d files, %v", size, err)
	}
}
