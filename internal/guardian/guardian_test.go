package guardian

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestMain is what a guard does when its child has ended.
func TestMain(m *testing.M) {
	if Ended != nil {
		fmt.Printf("ended %d %v %v\n", Ended.Code, Ended.PID != 0, Ended.Err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// guarded is this program as a guard of a shell script.
func guarded(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	cmd := exec.Command(os.Args[0], Command, "state", "/bin/sh", "-c", script)
	for range inherited - 3 {
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, null)
	}
	return cmd
}

func TestHowItEnded(t *testing.T) {
	for script, want := range map[string]string{
		"exit 3":       "ended 3 true <nil>",
		"true":         "ended 0 true <nil>",
		"kill -KILL $": "ended 1 true <nil>", // completed below: its own pid
	} {
		out, err := guarded(t, strings.Replace(script, "$", "$$", 1)).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", script, got, err, want)
		}
	}
}

func TestNoSuchProgram(t *testing.T) {
	out, err := exec.Command(os.Args[0], Command, "state", "/no/such/program").Output()
	if got := string(out); err != nil || !strings.HasPrefix(got, "ended 1 false") || !strings.Contains(got, "no such") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestItPassesOnWhatEndsIt, and holds no end of the pipes itself.
func TestItPassesOnWhatEndsIt(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	signal := "TERM"
	if runtime.GOOS != "linux" {
		signal = "INT"
	}
	cmd := guarded(t, "trap 'exit 5' "+signal+"; echo up >&4; exec 4>&-; while :; do sleep 0.01; done")
	cmd.ExtraFiles[1] = write
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if said, err := io.ReadAll(read); err != nil || string(said) != "up\n" { // until nobody has the pipe
		t.Fatalf("%q, %v", said, err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || out.String() != "ended 5 true <nil>\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
