package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// misbehaving is a workspace of services that fork, fork twice, leave their
// session and their environment, and ignore SIGTERM.
func (b *bench) misbehaving() (dir, program string) {
	program = b.testservice()
	dir = filepath.Join(b.dir, "misbehaving")
	check(os.MkdirAll(filepath.Join(dir, "svc"), 0o700))
	var text strings.Builder
	text.WriteString(workspace + "defaults: {stop: {grace: 300ms}, watch: [manual], dir: svc}\nservices:\n")
	for i, flags := range []string{"", "-fork", "-setsid, -leak", "-hide", "-ignore-term, -fork, -setsid, -hide, -leak"} {
		fmt.Fprintf(&text, "  s%d: {dir: svc, run: [%s, %s]}\n", i, program, flags)
	}
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(strings.Replace(text.String(), ", dir: svc}", "}", 1)), 0o600))
	return dir, program
}

// alive are the processes that run a program.
func alive(program string) (pids []int) {
	entries, err := os.ReadDir("/proc")
	check(err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil && exe == program {
			pids = append(pids, pid)
		}
	}
	return pids
}

// daemons are the pids of mesh's daemon, of which one runs at a time, and of its guard;
// 0 for one that is not there.
func (b *bench) daemons() (guard, daemon int) {
	roles := map[int]string{}
	for _, pid := range alive(b.mesh) {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // gone meanwhile: empty
		if args := strings.Split(string(data), "\x00"); len(args) > 1 {
			roles[pid] = args[1]
		}
	}
	for pid, role := range roles {
		switch {
		case roles[parentOf(pid)] == role: // forked, about to become another program
		case role == "__guard":
			guard = pid
		case role == "__daemon":
			daemon = pid
		}
	}
	return guard, daemon
}

// parentOf is a process's parent (proc(5), stat); 0 for one that is gone.
func parentOf(pid int) int {
	_, parent := stateOf(pid)
	return parent
}

// stateOf is a process's state, such as Z for a zombie, and its parent (proc(5),
// stat).
func stateOf(pid int) (state string, parent int) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0 // gone
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	check(err)
	return fields[0], parent
}

// killed starts a workspace and kills its daemon, and with both its guard too,
// at a random moment.
func (b *bench) killed(dir string, both bool) {
	cmd := exec.Command(b.mesh, "up", "-d", "-q")
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	check(cmd.Start())
	time.Sleep(time.Duration(rand.Int64N(int64(400 * time.Millisecond)))) // the moment is random
	guard, daemon := b.daemons()
	for begun := time.Now(); daemon == 0; guard, daemon = b.daemons() {
		if time.Since(begun) > time.Minute {
			check(fmt.Errorf("no daemon started within a minute: %s", said.String()))
		}
	}
	if both {
		sigkill(guard)
	}
	sigkill(daemon)
	_ = cmd.Wait() // it reports what we did
}

func sigkill(pid int) {
	p, err := os.FindProcess(pid)
	check(err)
	check(p.Kill())
}

// goneWithin waits until nothing runs the program, at most for limit, and returns
// how much is left.
func goneWithin(program string, limit time.Duration) int {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if left := len(alive(program)); left == 0 || time.Since(begun) > limit {
			return left
		}
	}
}

// kill kills mesh 100 times a run, and mesh with its guard 20 times.
func (b *bench) kill() {
	dir, program := b.misbehaving()
	defer b.down(dir)
	left, failed := 0, 0
	for range 100 * b.runs {
		b.killed(dir, false)
		left += goneWithin(program, 2*time.Second)
		if !b.starts(dir) {
			failed++
		}
	}
	b.report(fmt.Sprintf("%d × SIGKILL of mesh: alive after 2 s", 100*b.runs), fmt.Sprint(left), "0", left == 0)
	after := 0
	for range 20 * b.runs {
		b.killed(dir, true)
		if !b.starts(dir) {
			failed++
		}
		after += goneWithin(program, 0)
	}
	b.report(fmt.Sprintf("%d × with its guard: alive after the next start", 20*b.runs), fmt.Sprint(after), "0", after == 0)
	b.report("starts after that which failed", fmt.Sprint(failed), "0", failed == 0)
}

// starts reports whether mesh starts at once, and stops it.
func (b *bench) starts(dir string) bool {
	cmd := exec.Command(b.mesh, "up", "-d", "-q")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		fmt.Printf("  up failed: %s", out)
	}
	down := exec.Command(b.mesh, "down", "-q")
	down.Dir = dir
	check(down.Run())
	return err == nil
}

// stop stops misbehaving services 40 times a run.
func (b *bench) stop() {
	dir, program := b.misbehaving()
	defer b.down(dir)
	timed(dir, nil, b.mesh, "up", "-d", "-q")
	const limit = 300*time.Millisecond + time.Second // the grace and a second
	late, zombies := 0, 0
	var longest time.Duration
	for range 8 * b.runs {
		for i := range 5 {
			begun := time.Now()
			timed(dir, nil, b.mesh, "stop", "-q", fmt.Sprintf("s%d", i))
			took := time.Since(begun)
			if longest = max(longest, took); took > limit {
				late++
			}
		}
		late += goneWithin(program, 0)
		_, daemon := b.daemons()
		zombies += zombiesOf(daemon)
		timed(dir, nil, b.mesh, "start", "-q", "s0", "s1", "s2", "s3", "s4")
	}
	b.report(fmt.Sprintf("%d stops of misbehaving services: late or left", 40*b.runs), fmt.Sprintf("%d, longest %s", late, ms(longest)), "0 after the grace + 1 s", late == 0)
	b.report("zombies of the daemon", fmt.Sprint(zombies), "0", zombies == 0)
}

// zombiesOf counts children of a process that stay zombies for half a second.
func zombiesOf(parent int) int {
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		n := 0
		entries, err := os.ReadDir("/proc")
		check(err)
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil {
				if state, of := stateOf(pid); state == "Z" && of == parent {
					n++
				}
			}
		}
		if n == 0 || time.Since(begun) > 500*time.Millisecond {
			return n
		}
	}
}
