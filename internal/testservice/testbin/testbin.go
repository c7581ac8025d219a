// Package testbin builds testservice for tests.
package testbin

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Path is the built program; it is built once for each test binary.
var Path = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "testservice-*")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "testservice")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/ebef7166/mesh/internal/testservice").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build testservice: %w: %s", err, out)
	}
	return bin, nil
})
