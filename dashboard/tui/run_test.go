package tui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/internal/need"
)

// bin is the folder of the real programs that the tests run.
var bin string

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mesh-tui-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "../../cmd/mesh", "../../internal/testservice")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// screen is a terminal of its own, in which real programs run.
type screen struct {
	t      *testing.T
	dir    string // the workspace
	server string
	env    []string
}

const workspaceFiles = `
mesh.yaml:version: 1
name: small
gateway: {auth: none}
---
services/good/mesh.service.yaml:version: 1
name: good
run: testservice
health: {http: /readyz, interval: 50ms}
---
services/wild/mesh.service.yaml:version: 1
name: wild
run: testservice -garbage
health: {http: /readyz, interval: 50ms}
---
services/never/mesh.service.yaml:version: 1
name: never
run: testservice -never-ready
health: {http: /readyz, interval: 50ms}
`

// newScreen runs a command in a fresh workspace.
func newScreen(t *testing.T, width, height int, command string) *screen {
	need.Program(t, "tmux")
	dir := t.TempDir()
	for _, file := range strings.Split(strings.TrimSpace(workspaceFiles), "---\n") {
		name, text, _ := strings.Cut(file, ":")
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	s := &screen{t: t, dir: dir, server: filepath.Join(t.TempDir(), "tmux")}
	s.env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "MESH_GATEWAY=127.0.0.1:0", "TERM=xterm-256color", "CI=", "NO_COLOR=",
		"XDG_CONFIG_HOME="+t.TempDir())
	t.Cleanup(func() {
		down := exec.Command(filepath.Join(bin, "mesh"), "-C", dir, "down")
		down.Env = s.env
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("mesh down: %v\n%s", err, out)
		}
		_ = exec.Command("tmux", "-S", s.server, "kill-server").Run()
	})
	s.tmux("-f", os.DevNull, "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "-c", dir, "sh")
	s.tmux("set", "-s", "escape-time", "0")
	s.keys(command, "Enter")
	return s
}

func (s *screen) tmux(args ...string) string {
	s.t.Helper()
	cmd := exec.Command("tmux", append([]string{"-S", s.server}, args...)...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (s *screen) keys(keys ...string) { s.tmux(append([]string{"send-keys"}, keys...)...) }

// until waits for a condition of what is seen.
func (s *screen) until(what string, ok func(string) bool) string {
	s.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(30 * time.Millisecond)
	defer again.Stop()
	for {
		seen := s.tmux("capture-pane", "-p")
		if ok(seen) {
			return seen
		}
		select {
		case <-deadline.C:
			s.t.Fatalf("never %s; the screen:\n%s", what, seen)
		case <-again.C:
		}
	}
}

func (s *screen) shows(texts ...string) string {
	s.t.Helper()
	return s.until(fmt.Sprintf("%q", texts), func(seen string) bool {
		for _, text := range texts {
			if !strings.Contains(seen, text) {
				return false
			}
		}
		return true
	})
}

func (s *screen) lacks(text string) {
	s.t.Helper()
	s.until("without "+text, func(seen string) bool { return !strings.Contains(seen, text) })
}

// TestUpInTerminal is a person at a terminal of 80x24.
func TestUpInTerminal(t *testing.T) {
	s := newScreen(t, 80, 24, "mesh up")
	s.shows("› good", "● healthy", "◑ starting", "gateway http://127.0.0.1:")
	if title := s.tmux("display", "-p", "#{pane_title}"); !strings.HasPrefix(title, "mesh: small") {
		t.Errorf("what a service prints changed the title: %s", title)
	}
	s.keys("r")
	s.shows("restart good: ordered")
	s.shows("good-2")
	s.keys("?")
	s.shows("Selected service", "detach: all runs on")
	s.keys("Escape")
	s.lacks("Selected service")
	s.keys("j", "w")
	s.shows("Why never?", "next:")
	s.keys("Escape")
	s.lacks("Why never?")
	s.keys("/")
	s.shows("Log of all services  /")
	s.keys("-l", "good-2")
	s.keys("Enter")
	s.until("only lines of good-2", func(seen string) bool {
		_, log, _ := strings.Cut(seen, "only /good-2")
		return strings.Contains(log, "good-2") && !strings.Contains(log, "wild-1")
	})
	s.keys("Escape")
	s.lacks("only /good-2")
	s.keys("Tab", "j", "s")
	s.shows("stop wild: ordered")
	s.shows("■ stopped")
	s.keys("s")
	s.lacks("■ stopped")
	s.keys("Enter")
	s.shows("Log of wild")
	s.lacks("Services")
	s.keys("d")
	s.shows("Detached: it runs on")
	s.keys("mesh dash", "Enter")
	s.shows("› good", "Log of all services")
	s.keys("q")
	s.lacks("Log of all services")
	s.keys("clear; mesh ps | head -2", "Enter")
	s.shows("good-", "healthy")
}

// TestStopsInTerminal is q, answered with y, and a mesh dash that is left alone.
func TestStopsInTerminal(t *testing.T) {
	s := newScreen(t, 160, 50, "mesh up; echo ended with $?")
	s.shows("› good", "Built-ins", "identity", "● healthy")
	s.keys("q")
	s.shows("This stops all services")
	s.keys("y")
	s.shows("ended with 0")
	s.keys("clear; mesh up -d --wait-timeout 1s -q", "Enter")
	s.shows("never")
	s.keys("clear; mesh ps", "Enter")
	s.shows("good-1", "healthy")
	s.keys("clear; (mesh dash; echo left with $?)", "Enter")
	s.shows("Log of all services")
	s.tmux("new-window", "-d", "-c", s.dir, "mesh down")
	s.shows("small was stopped from elsewhere", "left with 0")
}

// TestDeathInTerminal is a daemon that is killed under the dashboard that owns it: the
// command fails, and says why.
func TestDeathInTerminal(t *testing.T) {
	s := newScreen(t, 160, 50, "mesh up; echo ended with $?")
	s.shows("› good", "● healthy")
	status, err := control.NewClient(filepath.Join(s.dir, ".mesh", "run", "control.sock")).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := os.FindProcess(status.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	s.shows("mesh has died", "ended with 1")
}

// TestInterruptInTerminal is Ctrl-C, in a dashboard that owns the workspace and in
// one that looks on.
func TestInterruptInTerminal(t *testing.T) {
	s := newScreen(t, 80, 24, "mesh up; echo ended with $?")
	s.shows("› good", "● healthy")
	s.keys("C-c")
	s.shows("ended with 130")
	s.keys("clear; mesh up -d --wait-timeout 1s -q; mesh dash; echo left with $?", "Enter")
	s.shows("Log of all services")
	s.keys("C-c")
	s.shows("left with 130")
	s.keys("clear; mesh ps | head -2", "Enter")
	s.shows("good-1", "healthy")
}

// TestNoColour is a terminal that must not get colours.
func TestNoColour(t *testing.T) {
	s := newScreen(t, 80, 24, "NO_COLOR=1 mesh up")
	s.shows("› good", "● healthy")
	seen := s.tmux("capture-pane", "-p", "-e")
	for _, colour := range []string{"\x1b[38;", "\x1b[3", "\x1b[48;", "\x1b[9"} {
		for rest := seen; ; {
			_, after, found := strings.Cut(rest, colour)
			if !found {
				break
			}
			// 39 and 49 are the terminal's own colours.
			if !strings.HasPrefix(after, "9m") {
				t.Fatalf("a colour with NO_COLOR: %q", seen)
			}
			rest = after
		}
	}
	s.keys("C-c")
	s.lacks("Log of all services")
}

// TestRunWithoutDaemon says so and leaves.
func TestRunWithoutDaemon(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	defer in.Close()
	var screen strings.Builder
	_, err = Run(ctx, control.NewClient(filepath.Join(t.TempDir(), "none")), Options{In: in, Out: &screen})
	if !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}
