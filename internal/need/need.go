// Package need lets tests say which parts of a machine they need.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Program returns the path of the first of names that is on PATH. Without any
// the test is skipped; where MESH_TEST_REQUIRE is "all", as in CI, it fails.
func Program(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, names[0])
	return ""
}

// Missing skips or fails the test for want of a part.
func Missing(t testing.TB, part string) {
	t.Helper()
	if os.Getenv("MESH_TEST_REQUIRE") == "all" {
		t.Fatalf("%s is missing, and MESH_TEST_REQUIRE=all", part)
	}
	t.Skipf("%s is missing", part)
}

// Docker is for tests that run containers: they need an engine and its command.
func Docker(t testing.TB) {
	t.Helper()
	Program(t, "docker")
	if err := exec.Command("timeout", "10", "docker", "version").Run(); err != nil {
		Missing(t, "a Docker engine that answers")
	}
}
