// Command bench measures the figures of docs/performance.md: mesh beside what a
// user would do by hand, in turn (A B A B …), so that a ratio holds on a machine
// whose speed drifts.
//
//	go run ./bench [-mesh bin/mesh] [-n 5] [FIGURE...]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is where the measurements happen.
type bench struct {
	mesh string // the program, absolute
	dir  string // scratch
	runs int

	short int // figures that fell short
}

// children are what this program runs itself as, to have something to compare with
// in a process of its own.
var children = map[string]func(args []string) error{
	"__supervise": supervise, "__backend": backend, "__reverseproxy": reverseProxy, "__nats": serveNATS, "__least": serveLeast,
}

func main() {
	log.SetFlags(0)
	if len(os.Args) > 2 && children[os.Args[1]] != nil {
		check(children[os.Args[1]](os.Args[2:]))
		return
	}
	check(run())
}

func run() error {
	mesh := flag.String("mesh", "bin/mesh", "the program that is measured")
	runs := flag.Int("n", 5, "runs of each")
	must := flag.Bool("must", false, "fail when a figure falls short")
	flag.Parse()
	dir, err := os.MkdirTemp("", "mesh-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program, err := filepath.Abs(*mesh)
	if err != nil {
		return err
	}
	b := &bench{mesh: program, dir: dir, runs: *runs}
	names := flag.Args()
	if len(names) == 0 {
		names = []string{"size", "startup", "new", "builtins", "warm"}
	}
	fmt.Printf("%s/%s, %d cores, %s, %d runs each, medians\n", goruntime.GOOS, goruntime.GOARCH, goruntime.NumCPU(), goruntime.Version(), b.runs)
	all := map[string]func(){"size": b.size, "new": b.scaffold, "startup": b.startup, "builtins": b.builtins, "warm": b.warm, "cold": b.cold,
		"many": b.many, "chain": b.chain, "reload": b.reload, "save": b.save, "kill": b.kill, "stop": b.stop, "logs": b.logs, "builds": b.builds, "crash": b.crash,
		"containers": b.containers, "gateway": b.gateway, "connections": b.connections, "visible": b.visible, "registry": b.registry}
	for _, name := range names {
		if all[name] == nil {
			return fmt.Errorf("no figure is called %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
		}
		all[name]()
	}
	if *must && b.short > 0 {
		return fmt.Errorf("%d figures fall short", b.short)
	}
	return nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// report prints one figure, what it must reach, and whether it does.
func (b *bench) report(name, got, bound string, ok bool) {
	verdict := "holds"
	if !ok {
		verdict = "FALLS SHORT"
		b.short++
	}
	fmt.Printf("%-44s %-34s must be %-32s %s\n", name, got, bound, verdict)
}

// timed runs a command to its end.
func timed(dir string, env []string, argv ...string) time.Duration {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	begun := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		log.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return time.Since(begun)
}

func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	return cmd
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (b *bench) size() {
	stripped := filepath.Join(b.dir, "mesh-release")
	timed(".", []string{"CGO_ENABLED=0"}, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", stripped, "./cmd/mesh")
	info, err := os.Stat(stripped)
	check(err)
	b.report("size of the release binary", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), "under 80 MB", info.Size() < 80e6)
}

// scaffold writes a service with everything, as a user does.
func (b *bench) scaffold() {
	dir := filepath.Join(b.dir, "scaffold")
	timed(b.dir, nil, b.mesh, "init", dir, "-q")
	var took []time.Duration
	for i := range 2 * b.runs {
		took = append(took, timed(dir, nil, b.mesh, "new", "service", fmt.Sprintf("s%d", i), "--database", "sqlite", "--publishes", fmt.Sprintf("s%d.done", i), "-q"))
	}
	b.report("mesh new service", ms(median(took)), "under 100 ms", median(took) < 100*time.Millisecond)
}

const workspace = `version: 1
name: bench
gateway: {address: 127.0.0.1:0}
`

// startup compares mesh version and mesh ps with a Go program that does nothing.
func (b *bench) startup() {
	source, empty := filepath.Join(b.dir, "empty.go"), filepath.Join(b.dir, "empty")
	check(os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600))
	timed(".", nil, "go", "build", "-o", empty, source)
	ws := b.tiny("startup")
	defer b.down(ws)
	timed(ws, nil, b.mesh, "up", "-d", "-q")
	var nothing, version, ps []time.Duration
	for range 5 * b.runs {
		nothing = append(nothing, timed(ws, nil, empty))
		version = append(version, timed(ws, nil, b.mesh, "version"))
		ps = append(ps, timed(ws, nil, b.mesh, "ps"))
	}
	bound := 2*median(nothing) + 15*time.Millisecond
	for name, got := range map[string]time.Duration{"mesh version": median(version), "mesh ps": median(ps)} {
		b.report(name, ms(got), fmt.Sprintf("≤ 2 × %s + 15 ms = %s", ms(median(nothing)), ms(bound)), got <= bound)
	}
}

// tiny is a workspace of one task that is done at once.
func (b *bench) tiny(name string) string {
	dir := filepath.Join(b.dir, name)
	check(os.MkdirAll(filepath.Join(dir, "services", "nothing"), 0o700))
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(workspace), 0o600))
	check(os.WriteFile(filepath.Join(dir, "services", "nothing", "mesh.service.yaml"), []byte("version: 1\nname: nothing\nkind: task\nrun: \"true\"\n"), 0o600))
	return dir
}

func (b *bench) down(dir string) {
	cmd := exec.Command(b.mesh, "down", "-q")
	cmd.Dir = dir
	_ = cmd.Run() // it may be down already
}

// builtins measures the daemon with nothing to run.
func (b *bench) builtins() {
	ws := b.tiny("builtins")
	defer b.down(ws)
	var up []time.Duration
	for range b.runs {
		up = append(up, timed(ws, nil, b.mesh, "up", "-d", "-q"))
		b.down(ws)
	}
	b.report("built-ins up (mesh up -d of one empty task)", ms(median(up)), "≤ 300 ms", median(up) <= 300*time.Millisecond)
	timed(ws, nil, b.mesh, "up", "-d", "-q")
	pid := b.status(ws).PID
	before := cpu(pid)
	const idle = 10 * time.Second
	time.Sleep(idle) // what is measured is doing nothing for a while
	share := float64(cpu(pid)-before) / float64(idle)
	b.report("idle daemon, processor", fmt.Sprintf("%.2f %% of a core", 100*share), "under 1 %", share < 0.01)
	memory := rss(pid)
	b.report("idle daemon, memory", fmt.Sprintf("%.1f MB resident", memory), "under 80 MB", memory < 80)
}

// status is what mesh status tells of a running workspace.
type status struct {
	PID               int
	Gateway, Registry struct{ URL string }
}

func (b *bench) status(ws string) (s status) {
	cmd := exec.Command(b.mesh, "status", "-o", "json")
	cmd.Dir = ws
	out, err := cmd.Output()
	check(err)
	check(json.Unmarshal(out, &s))
	return s
}

// cpu is the processor time that a process has used (Linux: proc(5), stat, in
// ticks of 10 ms).
func cpu(pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	check(err)
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, err := strconv.Atoi(fields[11])
	check(err)
	system, err := strconv.Atoi(fields[12])
	check(err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is the resident memory in MB.
func rss(pid int) float64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(err)
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kb, err := strconv.Atoi(fields[1])
			check(err)
			return float64(kb) / 1000
		}
	}
	return 0
}

func (b *bench) shop(name string) string {
	dir := filepath.Join(b.dir, name)
	timed(b.dir, nil, b.mesh, "demo", dir, "--run=false", "-q")
	return dir
}

// build is what a user would do by hand: one go build of the four services.
func build(dir string, env ...string) time.Duration {
	bin := filepath.Join(dir, "by-hand")
	check(os.RemoveAll(bin))
	check(os.MkdirAll(bin, 0o700))
	return timed(dir, env, "go", "build", "-buildvcs=false", "-o", bin+"/", "./services/profile/cmd/profile", "./services/cart/cmd/cart",
		"./services/billing/cmd/billing", "./services/notifications/cmd/notifications")
}

// warm compares mesh up to all healthy with the bare build, both with a warm
// cache and without their results.
func (b *bench) warm() {
	dir := b.shop("warm")
	defer b.down(dir)
	build(dir)
	var bare, up []time.Duration
	for range b.runs {
		bare = append(bare, build(dir))
		check(os.RemoveAll(filepath.Join(dir, ".mesh")))
		up = append(up, timed(dir, nil, b.mesh, "up", "-d", "-q", "--gateway", "127.0.0.1:0"))
		b.down(dir)
	}
	bound := median(bare) + 1500*time.Millisecond
	b.report("demo, warm: mesh up to all healthy", ms(median(up)), fmt.Sprintf("≤ go build %s + 1.5 s", ms(median(bare))), median(up) <= bound)
}

// cold does the same with empty build caches: minutes, so only once each.
func (b *bench) cold() {
	dir := b.shop("cold")
	defer b.down(dir)
	bare := build(dir, "GOCACHE="+filepath.Join(b.dir, "cache-a"))
	up := timed(dir, []string{"GOCACHE=" + filepath.Join(b.dir, "cache-b")}, b.mesh, "up", "-d", "-q", "--gateway", "127.0.0.1:0", "--wait-timeout", "10m")
	b.report("demo, empty build cache", up.Round(100*time.Millisecond).String(), "≤ go build "+bare.Round(100*time.Millisecond).String()+" + 3 s", up <= bare+3*time.Second)
}
