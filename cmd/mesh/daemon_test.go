package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ebef7166/mesh/control"
)

// TestNobodyJoinsADaemonThatIsOver: one whose client died while it began answers
// nobody, who would take it for one that runs.
func TestNobodyJoinsADaemonThatIsOver(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		text := "version: 1\nname: over\ngateway: {address: 127.0.0.1:0}\nservices: {a: {dir: ., run: testservice, watch: [manual]}}\n"
		if err := os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		lifeline, died, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		ready, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		died.Close()
		state := filepath.Join(dir, ".mesh")
		daemon := exec.Command(filepath.Join(bin, "mesh"), "__daemon", fmt.Sprintf(`{"dir":%q,"state":%q}`, dir, state))
		daemon.ExtraFiles = []*os.File{lifeline, ready}
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		lifeline.Close()
		ready.Close()
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
