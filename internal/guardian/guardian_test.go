package guardian

import (
	"errors"
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
		fmt.Printf("ended %d %v %v%s\n", Ended.Code, Ended.PID != 0, Ended.Err, Ended.Will)
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == Daemon {
		asDaemon()
	}
	os.Exit(m.Run())
}

// guarded is this program as a guard of a shell script.
func guarded(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	cmd := exec.Command(os.Args[0], Command, "/bin/sh", "-c", script)
	for range Will - Lifeline {
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
		"exit 3":                          "ended 3 true <nil>",
		"echo -n ', be kind' >&5; exit 4": "ended 4 true <nil>, be kind",
		"true":                            "ended 0 true <nil>",
		"kill -KILL $":                    "ended 1 true <nil>", // completed below: its own pid
	} {
		out, err := guarded(t, strings.Replace(script, "$", "$$", 1)).Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", script, got, err, want)
		}
	}
}

func TestNoSuchProgram(t *testing.T) {
	out, err := exec.Command(os.Args[0], Command, "/no/such/program").Output()
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

// asDaemon repeats what it is told, as one that is told nothing ends.
func asDaemon() {
	told, err := io.ReadAll(os.NewFile(Lifeline, ""))
	if err != nil {
		os.Exit(1)
	}
	os.NewFile(Will, "").Write(told)
	fmt.Fprintf(os.NewFile(Ready, ""), "%s, child of %d", told, os.Getppid())
	os.Exit(0)
}

// TestStart starts this program as a daemon under a guard, and tells it something.
func TestStart(t *testing.T) {
	s, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(s.Lifeline, "run this")
	s.Lifeline.Close()
	said, err := io.ReadAll(s.Ready)
	if want := fmt.Sprintf("run this, child of %d", s.Guard.Pid); err != nil || string(said) != want {
		t.Errorf("%q, %v; want %q", said, err, want)
	}
	if ended, err := s.Guard.Wait(); err != nil || !ended.Success() {
		t.Errorf("%v, %v", ended, err)
	}
}

// TestDismiss: one that is not taken ends.
func TestDismiss(t *testing.T) {
	var err error
	if early, err = start(); err != nil {
		t.Fatal(err)
	}
	guard := early.Guard
	Dismiss()
	Dismiss()
	if err := guard.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("it runs: %v", err)
	}
	if early, err = start(); err != nil {
		t.Fatal(err)
	}
	guard = early.Guard
	s, err := Start()
	if err != nil || s.Guard != guard {
		t.Fatalf("%v, %v", s, err)
	}
	Dismiss() // nothing: it is taken
	s.Lifeline.Close()
	if ended, err := guard.Wait(); err != nil || !ended.Success() {
		t.Errorf("%v, %v", ended, err)
	}
}
