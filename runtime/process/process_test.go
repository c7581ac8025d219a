//go:build linux

package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/internal/testservice/testbin"
)

// meansEnv asks the test program to run with one kind of cgroup only.
const meansEnv = "MESH_TEST_CGROUP"

func TestMain(m *testing.M) {
	if means := os.Getenv(meansEnv); means != "" {
		if err := offerOnly(means); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// offerOnly changes the mounts of a mount namespace of our own.
func offerOnly(means string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if where, kind := mountOf(line); kind == "cgroup2" {
			if err := syscall.Unmount(where, syscall.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", where, err)
			}
		}
	}
	if means != "cgroup v2" {
		return nil
	}
	dir, err := os.MkdirTemp("", "cgroup2-*")
	if err != nil {
		return err
	}
	return syscall.Mount("cgroup2", dir, "cgroup2", 0, "")
}

// TestEachMeans runs the tests once more with each kind of cgroup that this
// machine has.
func TestEachMeans(t *testing.T) {
	if os.Getenv(meansEnv) != "" {
		t.Skip("this is such a run")
	}
	if os.Geteuid() != 0 {
		t.Skip("a mount takes root")
	}
	for _, means := range []string{"cgroup v2", "cgroup v1 freezer"} {
		t.Run(means, func(t *testing.T) {
			if means == "cgroup v1 freezer" && !exists("/sys/fs/cgroup/freezer/tasks") {
				t.Skip("there is no version 1 here")
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^Test(Nothing|Means|What|Sweep|AllOutput)", "-test.v")
			cmd.Env = append(os.Environ(), meansEnv+"="+means, "TMPDIR="+t.TempDir())
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "held by "+means) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestMeans says in the test's output what is tested.
func TestMeans(t *testing.T) {
	d := driver(t)
	start(t, d, &safeBuffer{}, "-exit-after", "0s")
	t.Log("held by " + d.Means())
}

// TestWhatHidesIsEndedToo needs a cgroup: there is nothing else to know it by.
func TestWhatHidesIsEndedToo(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, _ := start(t, d, out, "-hide", "-leak", "-ignore-term")
	if !strings.Contains(d.Means(), "cgroup") {
		t.Skip("no cgroup can be made here")
	}
	group := p.held.cgroup
	eventually(t, "the hidden child", func() bool { return len(group.processes()) > 1 })
	p.Stop(t.Context(), syscall.SIGTERM, 50*time.Millisecond)
	if left := group.processes(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if exists(group.dir) {
		t.Error("the cgroup stays")
	}
}

// TestSweepFindsTheCgroup is the next start after mesh and its guard died at
// once.
func TestSweepFindsTheCgroup(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, _ := start(t, d, out, "-hide")
	if !strings.Contains(d.Means(), "cgroup") {
		t.Skip("no cgroup can be made here")
	}
	group := p.held.cgroup
	eventually(t, "the hidden child", func() bool { return len(group.processes()) > 1 })
	Sweep(d.holder.state)
	<-p.Done()
	if exists(group.dir) {
		t.Error("the cgroup stays")
	}
}

// TestWhoGivesItsWordIsNotSearched: a run that ended with nothing left spares the next
// one a look at every process; one that was killed does not.
func TestWhoGivesItsWordIsNotSearched(t *testing.T) {
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(look func(*Driver)) {
		d := NewDriver(state)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		if err := d.AwaitClean(); err != nil {
			t.Fatal(err)
		}
		look(d)
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	stray, _ := startIn(t, driver(t), &safeBuffer{}, state) // what another run has left
	run(func(d *Driver) {
		<-stray.Done()
		if !strings.Contains(d.Means(), "cgroup") {
			t.Skip("no cgroup can be made here")
		}
	})
	stray, _ = startIn(t, driver(t), &safeBuffer{}, state) // of nobody, as far as that word goes
	run(func(*Driver) {
		if exists(wordFile(state)) {
			t.Error("the word is good for more than one start")
		}
	})
	if stray.Stop(t.Context(), syscall.SIGTERM, time.Minute); stray.Exit().Signal != "SIGTERM" {
		t.Errorf("it was found: %v", stray.Exit())
	}
}

// TestAGuardLeavesAnothersCgroupAlone: a daemon that finds another one running ends
// at once, and its guard with it.
func TestAGuardLeavesAnothersCgroupAlone(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, _ := start(t, d, out)
	if p.held.cgroup == nil {
		t.Skip("no cgroup can be made here")
	}
	if cgroupOf(d.holder.state, os.Getpid()+1) != nil {
		t.Error("the guard of another daemon takes it for its own")
	}
	if own := cgroupOf(d.holder.state, os.Getpid()); own == nil || own.dir != d.holder.cgroup.dir {
		t.Errorf("its own guard finds %v", own)
	}
	p.Stop(t.Context(), syscall.SIGKILL, 0)
}

// TestASweepTrustsNobodysWord: what is written down may be anything.
func TestASweepTrustsNobodysWord(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, _ := start(t, d, out)
	if p.held.cgroup == nil {
		t.Skip("no cgroup can be made here")
	}
	for _, forged := range []string{p.held.cgroup.dir, "/", "", "../..", "/nowhere/" + cgroupName("x")} {
		state := t.TempDir()
		if err := os.MkdirAll(filepath.Dir(cgroupFile(state)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(cgroupFile(state), []byte(forged), 0o600); err != nil {
			t.Fatal(err)
		}
		Sweep(state)
	}
	select {
	case <-p.Done():
		t.Error("a forged name killed another's process")
	default:
	}
	p.Stop(t.Context(), syscall.SIGKILL, 0)
}

// safeBuffer is a writer that a test may read while it is written to.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func driver(t testing.TB) *Driver { return driverOf(t, false) }

// driverOf returns a driver whose thread shares our file table, or has its own where
// that is permitted.
func driverOf(t testing.TB, shares bool) *Driver {
	t.Helper()
	state := t.TempDir()
	if err := os.Mkdir(filepath.Join(state, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := NewDriver(state)
	d.holder.shares = shares
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d
}

func start(t *testing.T, d *Driver, out *safeBuffer, args ...string) (*Process, string) {
	t.Helper()
	return startIn(t, d, out, "/test/"+t.Name(), args...)
}

// startIn starts a process of the workspace with this state folder.
func startIn(t *testing.T, d *Driver, out *safeBuffer, state string, args ...string) (*Process, string) {
	t.Helper()
	bin, err := testbin.Path()
	if err != nil {
		t.Fatal(err)
	}
	marker := "MESH_INSTANCE=" + strings.ReplaceAll(t.Name(), "/", "-")
	p, err := d.Start(Spec{Argv: append([]string{bin}, args...), Env: append(os.Environ(), marker, "MESH_STATE="+state), Stdout: out, Stderr: out, Marker: marker})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "first line", func() bool { return strings.Contains(out.String(), "testservice") })
	return p, marker
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// marked are the living processes whose environment holds marker.
func marked(marker string) []int {
	entries, _ := os.ReadDir("/proc")
	var found []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err == nil && hasEnv(pid, marker) {
			found = append(found, pid)
		}
	}
	return found
}

func TestNothingOutlivesAStop(t *testing.T) {
	for _, args := range [][]string{
		{}, {"-fork"}, {"-setsid"}, {"-fork", "-setsid", "-leak"}, {"-ignore-term"}, {"-ignore-term", "-setsid", "-fork"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			d, out := driver(t), &safeBuffer{}
			p, marker := start(t, d, out, args...)
			if len(args) > 0 && args[0] != "-ignore-term" {
				eventually(t, "child", func() bool { return len(marked(marker)) > 1 })
			}
			p.Stop(t.Context(), syscall.SIGTERM, 200*time.Millisecond)
			// What was killed takes a moment to go.
			eventually(t, "all gone", func() bool { return len(marked(marker)) == 0 })
			if p.Exit().Signal == "" {
				t.Errorf("exit %v", p.Exit())
			}
		})
	}
}

func TestNothingOutlivesAnExit(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, marker := start(t, d, out, "-setsid", "-fork", "-leak", "-exit-after", "100ms", "-exit-code", "7")
	<-p.Done()
	eventually(t, "all gone", func() bool { return len(marked(marker)) == 0 })
	if p.Exit().Code != 7 {
		t.Errorf("exit %v, want 7", p.Exit())
	}
}

func TestAllOutputIsRead(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, _ := start(t, d, out, "-flood", "20000", "-exit-after", "0s", "-exit-code", "0")
	<-p.Done()
	if n := strings.Count(out.String(), "\n"); n != 20001 {
		t.Errorf("%d lines, want 20001", n)
	}
}

func TestStartErrors(t *testing.T) {
	d := driver(t)
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	os.WriteFile(plain, []byte("hello"), 0o644)
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("hello"), 0o755)
	for program, want := range map[string]string{
		"no-such-program-here": "no such program on PATH",
		"/no/such/file":        "no such file",
		plain:                  "not an executable file",
		script:                 "not a program of this machine",
	} {
		_, err := d.Start(Spec{Argv: []string{program}, Dir: dir, Env: os.Environ(), Marker: "X=y"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", program, err, want)
		}
	}
}

// TestStartErrorsNameTheFolder: it is not the program that is missing.
func TestStartErrorsNameTheFolder(t *testing.T) {
	d := driver(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o644)
	for folder, want := range map[string]string{
		filepath.Join(dir, "gone"): "sh: the folder to run it in is not there: " + filepath.Join(dir, "gone"),
		file:                       "sh: the folder to run it in cannot be entered: ",
	} {
		_, err := d.Start(Spec{Argv: []string{"sh"}, Dir: folder, Env: os.Environ(), Marker: "X=y"})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", folder, err, want)
		}
	}
}

func TestSweep(t *testing.T) {
	d, out := driver(t), &safeBuffer{}
	p, marker := start(t, d, out, "-setsid")
	eventually(t, "child", func() bool { return len(marked(marker)) > 1 })
	Sweep("/test/" + t.Name())
	<-p.Done()
	eventually(t, "all gone", func() bool { return len(marked(marker)) == 0 })
}

func TestSignal(t *testing.T) {
	for _, name := range []string{"SIGINT", "int", "INT"} {
		if s, err := Signal(name); err != nil || s != syscall.SIGINT {
			t.Errorf("%s: %v %v", name, s, err)
		}
	}
	if _, err := Signal("SIGNOPE"); err == nil {
		t.Error("no error")
	}
}
