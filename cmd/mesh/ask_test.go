package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/need"
)

// asked is a terminal in which mesh asks its questions.
type asked struct {
	*demo
	server string
}

func ask(t *testing.T, d *demo, args string) *asked {
	t.Helper()
	need.Program(t, "tmux")
	a := &asked{d, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", a.server, "kill-server").Run() })
	a.tmux("-f", os.DevNull, "new-session", "-d", "-x", "80", "-y", "24", "-c", d.dir,
		"env -u CI PATH="+bin+":$PATH mesh new service "+args+"; echo ended with $?; cat")
	return a
}

func (a *asked) tmux(args ...string) string {
	a.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", a.server}, args...)...).CombinedOutput()
	if err != nil {
		a.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// answer waits until text is on the screen, and then presses keys.
func (a *asked) answer(text string, keys ...string) {
	a.t.Helper()
	var seen string
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(seen, text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatalf("never on the screen: %q\n%s", text, seen)
		}
		seen = a.tmux("capture-pane", "-p", "-J")
	}
	if len(keys) > 0 {
		a.tmux(append([]string{"send-keys"}, keys...)...)
	}
}

// TestNewServiceAsks is a newcomer who knows no options: the bar is where they
// are, mistakes are told where they are made.
func TestNewServiceAsks(t *testing.T) {
	d := newSystem(t, "billing --publishes paid", "profile")
	a := ask(t, d, "")
	a.answer("┃ What is it called?", "Cart!", "Enter")
	a.answer("is not a usable name", "C-u", "billing", "Enter")
	a.answer("services/billing is there already", "C-u", "cart", "Enter")
	a.answer("┃ What kind of service?", "Down", "Down")
	a.answer("> worker", "Enter")
	a.answer("┃ Which database of its own?", "Enter")
	a.answer("┃ Which services does it call?", "Down", "Space")
	a.answer("✓ profile", "Enter")
	a.answer("┃ Which events does it react to?", "Space")
	a.answer("✓ billing.paid", "Enter")
	a.answer("┃ Which events does it publish?", "checked_out, b@d", "Enter")
	a.answer("is not a usable event", "BSpace", "BSpace", "BSpace", "BSpace", "BSpace", "Enter")
	const line = "mesh new service cart --template worker --calls profile --publishes checked_out --consumes billing.paid"
	a.answer("Without questions: " + line)
	a.answer("ended with 0")
	if _, err := os.Stat(filepath.Join(d.dir, "services/cart/mesh.service.yaml")); err != nil {
		t.Error(err)
	}
	// Its own command line agrees that there is nothing left to do.
	d.do(strings.Fields(line)[1:]...)
}

func TestNewServiceIsAbandoned(t *testing.T) {
	d := newSystem(t)
	a := ask(t, d, "--template http")
	a.answer("┃ What is it called?", "half", "C-c")
	a.answer("nothing was written")
	a.answer("ended with 130")
	if left, _ := filepath.Glob(filepath.Join(d.dir, "services/*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
