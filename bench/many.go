package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// testservice builds the little service that the measurements run.
func (b *bench) testservice() string {
	path := filepath.Join(b.dir, "testservice")
	if _, err := os.Stat(path); err != nil {
		timed(".", nil, "go", "build", "-buildvcs=false", "-o", path, "./internal/testservice")
	}
	return path
}

// crowd writes a workspace of n services that run the command; more is added to
// each service's manifest.
func (b *bench) crowd(name string, n int, more func(i int) string, command ...string) string {
	dir := filepath.Join(b.dir, name)
	check(os.RemoveAll(dir))
	check(os.MkdirAll(filepath.Join(dir, "svc"), 0o700))
	var text strings.Builder
	text.WriteString(workspace + "services:\n")
	argv, err := json.Marshal(command) // which YAML reads too
	check(err)
	for i := range n {
		fmt.Fprintf(&text, "  s%d: {dir: svc, run: %s, watch: [manual]%s}\n", i, argv, more(i))
	}
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text.String()), 0o600))
	return dir
}

func nothingMore(int) string { return "" }

// supervisor is the minimal one as a child.
type supervisor struct {
	cmd  *exec.Cmd
	took time.Duration // to all ready
}

func (b *bench) supervisor(n int, command ...string) *supervisor {
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, append([]string{"__supervise", filepath.Join(b.dir, "supervised.log"), fmt.Sprint(n)}, command...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(err)
	begun := time.Now()
	check(cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	check(err)
	return &supervisor{cmd: cmd, took: time.Since(begun)}
}

func (s *supervisor) stop() {
	check(s.cmd.Process.Signal(syscall.SIGTERM))
	check(s.cmd.Wait())
}

// many compares the start of many services with the minimal supervisor.
func (b *bench) many() {
	service := b.testservice()
	for _, n := range []int{50, 200, 1000} {
		var least, up []time.Duration
		dir := b.crowd("many", n, nothingMore, service)
		for range b.runs {
			s := b.supervisor(n, service)
			least = append(least, s.took)
			s.stop()
			up = append(up, timed(dir, nil, b.mesh, "up", "-d", "-q"))
			b.down(dir)
		}
		bound := median(least) * 115 / 100
		b.report(fmt.Sprintf("%d services to all healthy", n), ms(median(up)), fmt.Sprintf("≤ 1.15 × %s", ms(median(least))), median(up) <= bound)
	}
	b.crowdIdle(service)
}

// crowdIdle measures what 200 services cost mesh while nothing happens.
func (b *bench) crowdIdle(service string) {
	const n, idle = 200, 10 * time.Second
	s := b.supervisor(n, service)
	before := cpu(s.cmd.Process.Pid)
	time.Sleep(idle) // what is measured is doing nothing for a while
	leastShare, leastMemory := float64(cpu(s.cmd.Process.Pid)-before)/float64(idle), rss(s.cmd.Process.Pid)
	s.stop()
	base := b.aloneMemory()
	dir := b.crowd("many", n, nothingMore, service)
	timed(dir, nil, b.mesh, "up", "-d", "-q")
	defer b.down(dir)
	pid := b.status(dir).PID
	before = cpu(pid)
	time.Sleep(idle)
	share, memory := float64(cpu(pid)-before)/float64(idle), rss(pid)
	b.report("200 services idle, processor", fmt.Sprintf("%.2f %% of a core", 100*share), fmt.Sprintf("≤ %.2f %% + 1 %%", 100*leastShare), share <= leastShare+0.01)
	b.report("200 services idle, memory over mesh alone", fmt.Sprintf("%.1f MB", memory-base), fmt.Sprintf("≤ 20 MB over %.1f MB", leastMemory), memory-base <= leastMemory+20)
}

// chain measures a hop of depends_on: healthy over the service's own start.
func (b *bench) chain() {
	const n = 10
	service := b.testservice()
	after := func(i int) string {
		if i == 0 {
			return ""
		}
		return fmt.Sprintf(", depends_on: [s%d]", i-1)
	}
	chained, one := b.crowd("chain", n, after, service), b.crowd("one", 1, nothingMore, service)
	var long, short []time.Duration
	for range b.runs {
		long = append(long, timed(chained, nil, b.mesh, "up", "-d", "-q"))
		b.down(chained)
		short = append(short, timed(one, nil, b.mesh, "up", "-d", "-q"))
		b.down(one)
	}
	own := b.supervisor(1, service)
	own.stop()
	hop := (median(long)-median(short))/(n-1) - own.took
	b.report("a hop of a chain of 10, over the service's start", ms(hop), "≤ 20 ms", hop <= 20*time.Millisecond)
}
