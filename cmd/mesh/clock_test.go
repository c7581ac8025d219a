package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/need"
	"github.com/ebef7166/mesh/runtime"
)

// leap is added to package time, and to the seconds that its Now reads: the wall
// clock, and it alone, is wrong by the seconds that a symbolic link points at. Now
// runs where no system call may be made (runtime.systemstack), so that somebody
// else looks at the link.
const leap = `
var leap atomic.Int64

func init() {
	path, set := syscall.Getenv("MESH_TEST_CLOCK")
	if !set {
		return
	}
	leap.Store(leapAt(path))
	go func() {
		for {
			Sleep(10 * Millisecond)
			leap.Store(leapAt(path))
		}
	}()
}

func leapAt(path string) (seconds int64) {
	var digits [8]byte
	n, _ := syscall.Readlink(path, digits[:])
	for _, c := range digits[:max(n, 0)] {
		if c != '-' {
			seconds = 10*seconds + int64(c-'0')
		}
	}
	if digits[0] == '-' {
		return -seconds
	}
	return seconds
}
`

// leaping is a workspace of a mesh whose wall clock can be made to jump.
type leaping struct {
	t       *testing.T
	program string
	dir     string
	clock   string // the link
}

func newLeaping(t *testing.T, manifest string) *leaping {
	l := &leaping{t: t, dir: t.TempDir(), program: filepath.Join(t.TempDir(), "mesh"), clock: filepath.Join(t.TempDir(), "clock")}
	write(t, filepath.Join(l.dir, "mesh.yaml"), manifest)
	l.build(t.TempDir())
	t.Cleanup(func() { _ = l.command("down", "-q").Run() })
	return l
}

// build builds mesh with a package time of its own (go help build, -overlay).
func (l *leaping) build(dir string) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		l.t.Fatal(err)
	}
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		need.Missing(l.t, "the source of package time")
	}
	const now, imports = "sec, nsec, mono := runtimeNow()\n", "import (\n"
	if strings.Count(string(source), now) != 1 {
		l.t.Fatalf("%s does not have %q once", original, now)
	}
	edited := strings.NewReplacer(now, now+"\tsec += leap.Load()\n", imports, imports+"\t\"sync/atomic\"\n\t\"syscall\"\n").Replace(string(source)) + leap
	write(l.t, filepath.Join(dir, "time.go"), edited)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: filepath.Join(dir, "time.go")}})
	if err != nil {
		l.t.Fatal(err)
	}
	write(l.t, filepath.Join(dir, "overlay.json"), string(overlay))
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-overlay", filepath.Join(dir, "overlay.json"), "-o", l.program, "./").CombinedOutput(); err != nil {
		l.t.Fatalf("go build -overlay: %v\n%s", err, out)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// jump makes the clock wrong by seconds.
func (l *leaping) jump(seconds int) {
	l.t.Helper()
	next := l.clock + ".next"
	if err := os.Symlink(strconv.Itoa(seconds), next); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(next, l.clock); err != nil {
		l.t.Fatal(err)
	}
}

func (l *leaping) command(args ...string) *exec.Cmd {
	cmd := exec.Command(l.program, append([]string{"-C", l.dir}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "MESH_TEST_CLOCK="+l.clock)
	return cmd
}

// do runs mesh, which has to succeed, and returns what it prints.
func (l *leaping) do(args ...string) string {
	l.t.Helper()
	cmd, said := l.command(args...), &strings.Builder{}
	cmd.Stderr = said
	out, err := cmd.Output()
	if err != nil {
		l.t.Fatalf("mesh %s: %v\n%s%s", strings.Join(args, " "), err, out, said)
	}
	return string(out)
}

func (l *leaping) instances() map[string]runtime.Instance {
	l.t.Helper()
	var list []runtime.Instance
	if err := json.Unmarshal([]byte(l.do("ps", "-o", "json")), &list); err != nil {
		l.t.Fatal(err)
	}
	byService := map[string]runtime.Instance{}
	for _, i := range list {
		byService[i.Service] = i
	}
	return byService
}

// ticks are the numbers that the service called ticker printed.
func (l *leaping) ticks(out string) []int {
	l.t.Helper()
	var ticks []int
	for line := range strings.Lines(out) {
		ticks = append(ticks, tick(l.t, line))
	}
	return ticks
}

func tick(t *testing.T, line string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "tick ")))
	if err != nil {
		t.Fatalf("not a tick: %q", line)
	}
	return n
}

func (l *leaping) ascending(what string, ticks []int) {
	l.t.Helper()
	for i := 1; i < len(ticks); i++ {
		if ticks[i] != ticks[i-1]+1 {
			l.t.Fatalf("%s: %d follows %d", what, ticks[i], ticks[i-1])
		}
	}
	if len(ticks) == 0 {
		l.t.Errorf("%s: nothing", what)
	}
}

const leapingManifest = `version: 1
name: leaping
identity: {users: [{name: alice}]}
services:
  web:
    dir: .
    watch: [manual]
    run: testservice
    health: {command: "echo asked >> asked", interval: 100ms}
    liveness: {http: /readyz, interval: 100ms}
    routes: [{prefix: /open/, auth: none, strip_prefix: true, timeout: 10s}, {prefix: /closed/, auth: required}]
  ticker: {dir: ., watch: [manual], kind: worker, run: [sh, -c, "i=0; while :; do echo tick $$i; i=$$((i+1)); sleep 0.02; done"]}
  fickle: {dir: ., watch: [manual], kind: worker, run: [sh, -c, "test ! -e broken && exec sleep 1000"]}
  brittle: {dir: ., watch: [manual], kind: worker, run: testservice -exit-after 200ms, profiles: [late], restart: {backoff: 300ms}}
  once: {dir: ., watch: [manual], kind: task, run: echo done, profiles: [late]}
`

// TestTheWallClockJumps holds that nothing but what is told in the time of day,
// such as the expiry of a token, depends on the wall clock.
func TestTheWallClockJumps(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the standard library anew")
	}
	l := newLeaping(t, leapingManifest)
	l.jump(0)
	l.do("up", "-d", "-q", "--gateway", "127.0.0.1:0")
	var status struct{ Gateway, Registry struct{ URL string } }
	if err := json.Unmarshal([]byte(l.do("status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	world := &bystanders{t: t, gateway: status.Gateway.URL, registry: status.Registry.URL}
	world.begin()
	following := l.follow()
	before := l.instances()
	brittle := l.command("up", "-d", "-q", "--profile", "late", "brittle")
	if err := brittle.Start(); err != nil {
		t.Fatal(err)
	}
	for _, seconds := range []int{3600, 0, -3600} {
		slow := world.slowly()
		l.jump(seconds)
		l.unmoved(seconds, before)
		if err := <-slow; err != nil {
			t.Errorf("%+d s: a request that was under way: %v", seconds, err)
		}
		l.obeys(seconds)
		world.stillThere(seconds)
		before["web"] = l.instances()["web"]
	}
	world.end()
	following.all()
	if err := brittle.Wait(); err == nil {
		t.Error("what crashes at once is healthy")
	}
	if i := l.instances()["brittle"]; i.State != runtime.Failed || !strings.Contains(i.Reason, "5 starts within 10s") {
		t.Errorf("what crashes at once is %s: %s", i.State, i.Reason)
	}
	l.ascending("mesh logs", l.ticks(l.do("logs", "ticker", "--no-prefix")))
	begun := time.Now()
	l.do("down", "-q")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("mesh down took %v", took)
	}
	l.ascending("mesh logs of what has stopped", l.ticks(l.do("logs", "ticker", "--no-prefix")))
}

// unmoved holds that what ran before the jump runs on, and is looked after.
func (l *leaping) unmoved(seconds int, before map[string]runtime.Instance) {
	l.t.Helper()
	asked := l.asked()
	time.Sleep(1500 * time.Millisecond) // nothing happens: for a while
	now := l.instances()
	for _, name := range []string{"web", "ticker"} {
		if i := now[name]; i.PID != before[name].PID || i.State != runtime.Healthy || i.Restarts != 0 {
			l.t.Errorf("%+d s: %s was %+v and is %+v", seconds, name, before[name], i)
		}
	}
	if more := l.asked() - asked; more < 3 {
		l.t.Errorf("%+d s: %d health probes in 1.5 s", seconds, more)
	}
	recent := l.ticks(l.do("logs", "ticker", "--no-prefix", "--since", "1s"))
	l.ascending("mesh logs --since", recent)
	if len(recent) > 60 {
		l.t.Errorf("%+d s: %d lines of one second", seconds, len(recent))
	}
}

func (l *leaping) asked() int {
	data, err := os.ReadFile(filepath.Join(l.dir, "asked"))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.Count(string(data), "\n")
}

// obeys holds that commands do what they did before.
func (l *leaping) obeys(seconds int) {
	l.t.Helper()
	old := l.instances()["web"].PID
	l.do("restart", "-q", "web")
	if now := l.instances()["web"]; now.PID == old || now.State != runtime.Healthy {
		l.t.Errorf("%+d s: restarted, web is %+v", seconds, now)
	}
	l.noticesARefusal(seconds)
	if out := l.do("run", "once"); !strings.Contains(out, "done") {
		l.t.Errorf("%+d s: the task printed %q", seconds, out)
	}
	// One from before the jump may have expired; a new one is good.
	token := strings.TrimSpace(l.do("token", "--user", "alice"))
	if out := l.do("status"); !strings.Contains(out, "gateway") {
		l.t.Errorf("%+d s: %s", seconds, out)
	}
	l.authorised(seconds, token)
}

// noticesARefusal restarts what does not start any more: the old one serves on.
func (l *leaping) noticesARefusal(seconds int) {
	l.t.Helper()
	broken := filepath.Join(l.dir, "broken")
	write(l.t, broken, "")
	if err := l.command("restart", "-q", "fickle").Run(); err == nil {
		l.t.Errorf("%+d s: restarted, although it does not start", seconds)
	}
	if err := os.Remove(broken); err != nil {
		l.t.Fatal(err)
	}
}

func (l *leaping) authorised(seconds int, token string) {
	l.t.Helper()
	var status struct{ Gateway struct{ URL string } }
	if err := json.Unmarshal([]byte(l.do("status", "-o", "json")), &status); err != nil {
		l.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, status.Gateway.URL+"/closed/", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if err := ok(http.DefaultClient.Do(req)); err != nil {
		l.t.Errorf("%+d s: a new token: %v", seconds, err)
	}
}

func ok(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// follower is a `mesh logs -f` that was begun before the jumps.
type follower struct {
	l    *leaping
	cmd  *exec.Cmd
	read chan []int
}

func (l *leaping) follow() *follower {
	since := time.Now().Add(-time.Second).Format(time.RFC3339Nano) // of what there is; what comes is new
	f := &follower{l: l, cmd: l.command("logs", "-f", "--since", since, "--no-prefix", "ticker"), read: make(chan []int, 1)}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		var ticks []int
		for lines := bufio.NewScanner(out); lines.Scan(); {
			ticks = append(ticks, tick(l.t, lines.Text()))
		}
		f.read <- ticks
	}()
	return f
}

// all holds that the follower has seen everything since it began.
func (f *follower) all() {
	f.l.t.Helper()
	newest := f.l.ticks(f.l.do("logs", "-n", "1", "--no-prefix", "ticker"))
	time.Sleep(200 * time.Millisecond) // until it is printed
	if err := f.cmd.Process.Signal(os.Interrupt); err != nil {
		f.l.t.Fatal(err)
	}
	ticks := <-f.read
	_ = f.cmd.Wait()
	f.l.ascending("mesh logs -f", ticks)
	if len(ticks) == 0 || ticks[len(ticks)-1] < newest[0] {
		f.l.t.Errorf("mesh logs -f ended at %d lines, before tick %d", len(ticks), newest[0])
	}
}

// bystanders use the workspace meanwhile: a visitor, and a service that registers
// itself, with a session.
type bystanders struct {
	t                 *testing.T
	gateway, registry string
	session           string
	stop              context.CancelFunc
	done              chan struct{}
	requests, failed  atomic.Int64
	last              atomic.Value // the last failure
}

func (b *bystanders) begin() {
	b.t.Helper()
	b.call(http.MethodPut, "/v1/agent/service/register", `{"ID": "guest", "Name": "guest", "Port": 9, "Check": {"TTL": "2s"}}`, nil)
	b.call(http.MethodPut, "/v1/agent/check/pass/service:guest", "", nil)
	var session struct{ ID string }
	b.call(http.MethodPut, "/v1/session/create", `{"TTL": "10s"}`, &session)
	b.session = session.ID
	ctx, stop := context.WithCancel(b.t.Context())
	b.stop, b.done = stop, make(chan struct{})
	go func() {
		defer close(b.done)
		for i := 0; ctx.Err() == nil; i++ {
			b.visit()
			if i%20 == 0 {
				b.put("/v1/agent/check/pass/service:guest")
				b.put("/v1/session/renew/" + b.session)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
}

func (b *bystanders) visit() {
	b.requests.Add(1)
	if err := ok(http.Get(b.gateway + "/open/")); err != nil {
		b.failed.Add(1)
		b.last.Store(err.Error())
	}
}

func (b *bystanders) put(path string) {
	req, err := http.NewRequest(http.MethodPut, b.registry+path, http.NoBody)
	if err == nil {
		err = ok(http.DefaultClient.Do(req))
	}
	if err != nil {
		b.failed.Add(1)
		b.last.Store(path + ": " + err.Error())
	}
}

// slowly asks for what takes a while.
func (b *bystanders) slowly() <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- ok(http.Get(b.gateway + "/open/slow?for=1s")) }()
	time.Sleep(100 * time.Millisecond) // until it is under way
	return answer
}

// stillThere holds that the registry has forgotten nobody.
func (b *bystanders) stillThere(seconds int) {
	b.t.Helper()
	var passing, sessions []struct{ ID string }
	b.call(http.MethodGet, "/v1/health/service/guest?passing", "", &passing)
	b.call(http.MethodGet, "/v1/session/info/"+b.session, "", &sessions)
	if len(passing) != 1 || len(sessions) != 1 {
		b.t.Errorf("%+d s: %d guests, %d sessions", seconds, len(passing), len(sessions))
	}
}

func (b *bystanders) end() {
	b.t.Helper()
	b.stop()
	<-b.done
	if b.failed.Load() > 0 || b.requests.Load() < 100 {
		b.t.Errorf("%d of %d requests failed: %v", b.failed.Load(), b.requests.Load(), b.last.Load())
	}
}

func (b *bystanders) call(method, path, body string, into any) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.registry+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, data, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(data, into); err != nil {
		b.t.Fatal(err)
	}
}
