//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebef7166/mesh/control"
)

// TestNobodyJoinsADaemonThatIsOver: one whose client died while it began answers
// nobody, who would take it for one that runs.
func TestNobodyJoinsADaemonThatIsOver(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		overWorkspace(t, dir)
		lifeline, told, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		nobody, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		state := filepath.Join(dir, ".mesh")
		fmt.Fprintf(told, `{"dir":%q,"state":%q}`, dir, state)
		told.Close()
		daemon := exec.Command(filepath.Join(bin, "mesh"), "__daemon")
		daemon.ExtraFiles = []*os.File{lifeline, nobody, nobody}
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		lifeline.Close()
		nobody.Close()
		ended := make(chan error, 1)
		go func() { ended <- daemon.Wait() }()
		client := control.NewClient(filepath.Join(state, "run", "control.sock"))
		for over := false; !over; {
			if status, err := client.Status(t.Context()); err == nil && status.State != "stopping" {
				t.Errorf("it is %s", status.State)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
				over = true
			default:
			}
		}
	}
}

// TestACrashIsInTheLog: a daemon has no terminal to die on.
func TestACrashIsInTheLog(t *testing.T) {
	dir := t.TempDir()
	overWorkspace(t, dir)
	mesh := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "mesh"), append([]string{"-C", dir}, args...)...)
		cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	mesh("up", "-d", "-q")
	t.Cleanup(func() { mesh("down", "-q") })
	client := control.NewClient(filepath.Join(dir, ".mesh", "run", "control.sock"))
	status, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(status.PID, syscall.SIGQUIT); err != nil { // as a deadlock is looked into
		t.Fatal(err)
	}
	if err := client.Gone(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(dir, ".mesh", "run", "daemon.log"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(log), "\ngoroutine ") && strings.Contains(string(log), "the daemon failed") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s", log)
		}
	}
}

func overWorkspace(t *testing.T, dir string) {
	t.Helper()
	text := "version: 1\nname: over\ngateway: {address: 127.0.0.1:0}\nservices: {a: {dir: ., run: testservice, watch: [manual]}}\n"
	if err := os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
