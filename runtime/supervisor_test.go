//go:build unix

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/internal/testservice/testbin"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/logs"
	"github.com/ebef7166/mesh/runtime/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a supervisor over real processes of testservice.
type rig struct {
	*Supervisor
	t     *testing.T
	build *fakeBuild
	ends  *recorder
}

// fakeBuild reports what the test wants as the result of every build.
type fakeBuild struct {
	mu      sync.Mutex
	results map[string]any // by service: []string to run, or an error
	version map[string]int
	holding sync.Mutex // held while nothing is built

	released []string // instances
}

// hold lets builds wait until it is released.
func (f *fakeBuild) hold() (release func()) {
	f.holding.Lock()
	return f.holding.Unlock
}

func (f *fakeBuild) set(service string, result any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.results[service] = result
	f.version[service]++
}

func (f *fakeBuild) Build(_ context.Context, services []*manifest.Service, report func(string, Artifact, error)) {
	f.holding.Lock()
	defer f.holding.Unlock()
	for _, s := range services {
		f.mu.Lock()
		result, version := f.results[s.Name], fmt.Sprint("v", f.version[s.Name])
		f.mu.Unlock()
		if err, ok := result.(error); ok {
			report(s.Name, Artifact{}, err)
			continue
		}
		report(s.Name, Artifact{Version: version, Argv: result.([]string)}, nil)
	}
}

// Address and Environ make the rig an Environment.
func (f *fakeBuild) Address(s *manifest.Service, _ string) (string, error) {
	if !s.Listens() {
		return "", nil
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func (f *fakeBuild) Environ(_ *manifest.Service, instance, address string) ([]string, error) {
	host, port, _ := net.SplitHostPort(address)
	return append(os.Environ(), "HOST="+host, "PORT="+port, "MESH_INSTANCE="+instance), nil
}

func (f *fakeBuild) Release(instance string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = append(f.released, instance)
}

// freed are the instances that were released since it was asked, sorted.
func (f *fakeBuild) freed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	freed := slices.Sorted(slices.Values(f.released))
	f.released = nil
	return freed
}

// recorder notes what the endpoints were told.
type recorder struct {
	mu    sync.Mutex
	log   []string
	drain time.Duration // what it takes
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Add(i Instance)    { r.note("add %s", i.Instance) }
func (r *recorder) Remove(i Instance) { r.note("remove %s", i.Instance) }
func (r *recorder) Drain(_ context.Context, i Instance, _ time.Duration) {
	r.note("drain %s", i.Instance)
	time.Sleep(r.drain)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.log, ", ")
}

func newRig(t *testing.T) *rig {
	t.Helper()
	store, err := logs.Open(filepath.Join(t.TempDir(), "logs"))
	if err != nil {
		t.Fatal(err)
	}
	driver := process.NewDriver(t.TempDir())
	r := &rig{t: t, build: &fakeBuild{results: map[string]any{}, version: map[string]int{}}, ends: &recorder{}}
	r.Supervisor = New(Options{Logs: store, Endpoints: r.ends, Environment: r.build, Builder: r.build, Processes: Processes{driver}})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := driver.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop, halt := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := r.Run(stop, ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		halt()
		<-ended
		cancel()
		wg.Wait()
		store.Close()
	})
	return r
}

// program is testservice with these arguments.
func (r *rig) program(args ...string) []string {
	r.t.Helper()
	bin, err := testbin.Path()
	if err != nil {
		r.t.Fatal(err)
	}
	return append([]string{bin}, args...)
}

func (r *rig) apply(services ...*manifest.Service) {
	for _, s := range services {
		if s.Health == nil && s.Kind == manifest.KindService {
			s.Health = &manifest.Probe{HTTP: "/readyz", Interval: manifest.Duration(20 * time.Millisecond)}
		}
	}
	r.Apply(NewPlan(services, r.Observed()), services)
}

// until waits for a state of everything.
func (r *rig) until(what string, ok func(Snapshot) bool) Snapshot {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var last Snapshot
	if err := r.Watch(ctx, func(s Snapshot) bool { last = s; return ok(s) }); err != nil {
		r.t.Fatalf("never: %s; %+v; endpoints: %s", what, last, r.ends)
	}
	return last
}

func (r *rig) state(service string, want State) Instance {
	r.t.Helper()
	s := r.until(service+" is "+string(want), func(s Snapshot) bool {
		is := s.Of(service)
		return len(is) == 1 && is[0].State == want
	})
	return s.Of(service)[0]
}

// alone waits until the one instance of app is healthy and is what is wanted.
func (r *rig) alone(wanted func(Instance) bool) Instance {
	r.t.Helper()
	s := r.until("the wanted instance alone", func(s Snapshot) bool {
		is := s.Of("app")
		return len(is) == 1 && wanted(is[0]) && is[0].State == Healthy
	})
	return s.Of("app")[0]
}

func TestStartsInOrder(t *testing.T) {
	r := newRig(t)
	r.build.set("seed", r.program("-exit-after", "50ms", "-exit-code", "0"))
	r.build.set("db", r.program("-ready-after", "100ms"))
	r.build.set("app", r.program())
	task := svc("seed", func(s *manifest.Service) {
		s.Kind, s.Restart.Policy = manifest.KindTask, "never"
		s.DependsOn = manifest.Dependencies{"db": manifest.Healthy}
	})
	app := svc("app", func(s *manifest.Service) {
		s.DependsOn = manifest.Dependencies{"seed": manifest.Completed, "db": manifest.Healthy}
	})
	r.apply(svc("db", nil), task, app)
	if i := r.state("app", Pending); !strings.Contains(i.Reason, "waits for") && i.Reason != "" {
		t.Errorf("reason %q", i.Reason)
	}
	r.state("app", Healthy)
	now := r.Snapshot()
	if !now.Of("seed")[0].Completed() || now.Of("db")[0].State != Healthy {
		t.Errorf("app is healthy before what it depends on: %+v", now.Instances)
	}
	if got := r.ends.String(); got != "add db-1, add app-1" {
		t.Errorf("endpoints: %s", got)
	}
}

// TestWhatItWaitsForReplacesNothing: a service that runs runs on, and one that waits
// waits for what the manifest says now.
func TestWhatItWaitsForReplacesNothing(t *testing.T) {
	r := newRig(t)
	r.build.set("db", r.program("-ready-after", "1h"))
	r.build.set("app", r.program())
	r.build.set("other", r.program())
	db, other := svc("db", nil), svc("other", nil)
	waits := func(s *manifest.Service) { s.DependsOn = manifest.Dependencies{"db": manifest.Healthy} }
	r.apply(db, svc("app", waits), other)
	r.until("app waits for db", func(s Snapshot) bool { return strings.HasPrefix(reason(s.Of("app")), "waits for db") })
	before := r.state("other", Healthy)
	free, now := svc("app", nil), svc("other", waits)
	free.Health, now.Health = db.Health, db.Health
	plan := NewPlan([]*manifest.Service{db, free, now}, r.Observed())
	if len(plan) != 0 {
		t.Errorf("%v", plan)
	}
	r.Apply(plan, []*manifest.Service{db, free, now})
	r.state("app", Healthy)
	if after := r.state("other", Healthy); after.PID != before.PID {
		t.Error("other was replaced")
	}
}

// reason is why the first of instances is in its state.
func reason(instances []Instance) string {
	if len(instances) == 0 {
		return ""
	}
	return instances[0].Reason
}

// TestStartsInOrderAgain after everything was stopped, and without what still is.
func TestStartsInOrderAgain(t *testing.T) {
	r := newRig(t)
	r.build.set("db", r.program("-ready-after", "300ms"))
	r.build.set("app", r.program())
	r.apply(svc("db", nil), svc("app", func(s *manifest.Service) { s.DependsOn = manifest.Dependencies{"db": manifest.Healthy} }))
	r.state("app", Healthy)
	ask := func(do func(...string) error, names ...string) {
		t.Helper()
		if err := do(names...); err != nil {
			t.Fatal(err)
		}
	}
	ask(r.Stop, "app", "db")
	r.state("app", Exited)
	r.state("db", Exited)
	ask(r.Start, "app", "db")
	r.until("app is healthy again", func(s Snapshot) bool {
		healthy := func(i Instance) bool { return i.State == Healthy }
		app, db := slices.ContainsFunc(s.Of("app"), healthy), slices.ContainsFunc(s.Of("db"), healthy)
		if app && !db {
			t.Error("app is healthy before db")
		}
		return app
	})
	ask(r.Stop, "app", "db")
	r.until("both are stopped", func(s Snapshot) bool {
		return !slices.ContainsFunc(s.Instances, func(i Instance) bool { return i.State.Running() })
	})
	ask(r.Start, "app")
	r.until("app runs without db", func(s Snapshot) bool {
		return slices.ContainsFunc(s.Of("app"), func(i Instance) bool { return i.State == Healthy })
	})
}

func TestCrashLoopFailsWithAReason(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program("-exit-after", "0s", "-exit-code", "3"))
	r.apply(svc("app", func(s *manifest.Service) { s.Restart.Backoff = manifest.Duration(time.Millisecond) }))
	i := r.state("app", Failed)
	if i.Restarts != 4 || i.ExitCode == nil || *i.ExitCode != 3 || !strings.Contains(i.Reason, "5 starts within 10s") {
		t.Errorf("%+v", i)
	}
	r.build.set("app", r.program())
	if err := r.Rebuild("app"); err != nil {
		t.Fatal(err)
	}
	r.state("app", Healthy)
}

func TestWhatCannotBeStartedIsNotCalledAStart(t *testing.T) {
	r := newRig(t)
	r.build.set("app", []string{"no-such-program"})
	r.apply(svc("app", func(s *manifest.Service) { s.Restart.Backoff = manifest.Duration(time.Millisecond) }))
	i := r.state("app", Failed)
	if i.Restarts != 0 || i.PID != 0 || strings.Contains(i.Reason, "starts") ||
		!strings.HasPrefix(i.Reason, "could not be started: no-such-program") || !strings.HasSuffix(i.Reason, "; tried 5 times within 10s") {
		t.Errorf("%+v", i)
	}
}

func TestSwapStartsTheNewBeforeItStopsTheOld(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	r.build.set("app", r.program("-version", "2"))
	_ = r.Rebuild("app")
	r.alone(func(i Instance) bool { return i.Version == "v2" })
	if got := r.ends.String(); !strings.HasPrefix(got, "add app-1, add app-2, remove app-1, drain app-1") {
		t.Errorf("endpoints: %s", got)
	}
}

// TestABuildThatChangesNothingDoesNotHurryASwap: the new one is waited for on.
func TestABuildThatChangesNothingDoesNotHurryASwap(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	r.build.set("app", r.program("-ready-after", "500ms"))
	_ = r.Rebuild("app")
	r.until("the new one starts", func(s Snapshot) bool { return len(s.Of("app")) == 2 })
	_ = r.Rebuild("app")
	r.alone(func(i Instance) bool { return i.Version == "v2" })
	if got := r.ends.String(); !strings.HasPrefix(got, "add app-1, add app-2, remove app-1") {
		t.Errorf("endpoints: %s", got)
	}
}

// TestAChangedCommandIsRun: what the manifest runs comes with the build, whose version
// says nothing of it. Nothing runs the old command once more before.
func TestAChangedCommandIsRun(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	r.build.results["app"] = r.program("-version", "2")
	r.apply(svc("app", func(s *manifest.Service) { s.Run.Args = r.program("-version", "2") }))
	app := r.alone(func(i Instance) bool { return i.Instance != "app-1" })
	res, err := http.Get("http://" + app.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); !strings.Contains(string(body), "2") || err != nil {
		t.Errorf("it runs the old command: %q %v", body, err)
	}
	if got := r.ends.String(); !strings.HasPrefix(got, "add app-1, add app-2, remove app-1") {
		t.Errorf("endpoints: %s", got)
	}
}

// TestWhatWasBuiltFromAnOlderManifestIsDropped: it came too late to be taken back.
func TestWhatWasBuiltFromAnOlderManifestIsDropped(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	older := svc("app", nil)
	r.apply(older)
	r.state("app", Healthy)
	release := r.build.hold()
	r.apply(svc("app", func(s *manifest.Service) { s.Env = map[string]string{"A": "b"} }))
	r.built(older, Artifact{Version: "v1", Argv: r.program()}, nil)
	if now := r.Snapshot(); !now.Services[0].Building || len(now.Instances) != 1 {
		t.Errorf("%+v", now)
	}
	release()
	r.alone(func(i Instance) bool { return i.Instance == "app-2" })
}

// TestWhyTheOldOneServesOnIsKept until something changes.
func TestWhyTheOldOneServesOnIsKept(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	r.build.set("app", []string{"false"})
	_ = r.Rebuild("app")
	rejected := func(s Snapshot) bool {
		service, _ := s.Service("app")
		is := s.Of("app")
		return service.Rejected != "" && len(is) == 1 && strings.Contains(is[0].Reason, "this one serves on: "+service.Rejected)
	}
	r.until("rejected", rejected)
	_ = r.Rebuild("app")
	if now := r.until("built again", func(s Snapshot) bool { service, _ := s.Service("app"); return !service.Building && !service.Changing }); !rejected(now) {
		t.Errorf("%+v", now)
	}
	r.build.set("app", r.program())
	_ = r.Rebuild("app")
	r.until("mended", func(s Snapshot) bool {
		service, _ := s.Service("app")
		is := s.Of("app")
		return service.Rejected == "" && len(is) == 1 && is[0].Version == "v3" && is[0].State == Healthy && is[0].Reason == ""
	})
}

// TestScaleOfWhatServesOn: the version that serves is scaled, not the one that does not
// become healthy.
func TestScaleOfWhatServesOn(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", func(s *manifest.Service) { two := 2; s.Replicas = &two }))
	healthy := func(n int) {
		t.Helper()
		r.until(fmt.Sprint(n, " healthy"), func(s Snapshot) bool {
			is := s.Of("app")
			return len(is) == n && !slices.ContainsFunc(is, func(i Instance) bool { return i.State != Healthy || i.Version != "v1" })
		})
	}
	healthy(2)
	r.build.set("app", []string{"false"})
	_ = r.Rebuild("app")
	r.until("rejected", func(s Snapshot) bool { service, _ := s.Service("app"); return service.Rejected != "" })
	for _, replicas := range []int{4, 1, 3} {
		if err := r.Scale("app", replicas); err != nil {
			t.Fatal(err)
		}
		healthy(replicas)
	}
}

// TestScaleUpWhileOthersLeave: what was told to stop is none of those that are wanted.
func TestScaleUpWhileOthersLeave(t *testing.T) {
	for _, reload := range []string{"", "replace"} {
		r := newRig(t)
		r.ends.drain = 200 * time.Millisecond
		r.build.set("app", r.program())
		r.apply(svc("app", func(s *manifest.Service) { two := 2; s.Replicas, s.Reload = &two, reload }))
		healthy := func(s Snapshot) bool {
			is := s.Of("app")
			return len(is) == 2 && !slices.ContainsFunc(is, func(i Instance) bool { return i.State != Healthy })
		}
		r.until("two", healthy)
		leaves := func(s Snapshot) bool {
			return slices.ContainsFunc(s.Of("app"), func(i Instance) bool { return i.State == Stopping })
		}
		for _, replicas := range []int{1, 0} {
			if err := r.Scale("app", replicas); err != nil {
				t.Fatal(err)
			}
			r.until("one leaves", leaves)
			if replicas > 0 {
				_ = r.Scale("app", 2)
			} else {
				_ = r.Start("app")
			}
			r.until("two again", healthy)
		}
	}
}

func TestReplaceStopsTheOldFirst(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", func(s *manifest.Service) { s.Reload = "replace" }))
	r.state("app", Healthy)
	r.build.set("app", r.program("-version", "2"))
	_ = r.Rebuild("app")
	r.alone(func(i Instance) bool { return i.Version == "v2" })
	if got := r.ends.String(); strings.Index(got, "drain app-1") > strings.LastIndex(got, "add app-1") {
		t.Errorf("endpoints: %s", got)
	}
}

func TestANewVersionThatIsNotHealthyChangesNothing(t *testing.T) {
	for name, result := range map[string]any{
		"does not build": errors.New("app.go:3:1: undefined: x"),
		"exits":          []string{"false"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.build.set("app", r.program())
			r.apply(svc("app", nil))
			r.state("app", Healthy)
			r.build.set("app", result)
			_ = r.Rebuild("app")
			s := r.until("a reason", func(s Snapshot) bool { is := s.Of("app"); return len(is) == 1 && is[0].Reason != "" })
			if i := s.Of("app")[0]; i.State != Healthy || i.Version != "v1" {
				t.Errorf("%+v", i)
			}
			if got := r.ends.String(); got != "add app-1" {
				t.Errorf("endpoints: %s", got)
			}
			r.build.set("app", r.program("-version", "3"))
			_ = r.Rebuild("app")
			r.alone(func(i Instance) bool { return i.Version == "v3" })
		})
	}
}

func TestReadinessTakesTrafficAwayAndNeverKills(t *testing.T) {
	r := newRig(t)
	flag := filepath.Join(t.TempDir(), "sick")
	r.build.set("app", r.program())
	r.apply(svc("app", func(s *manifest.Service) {
		s.Health = &manifest.Probe{Command: manifest.Command{Args: []string{"test", "!", "-e", flag}}, Interval: manifest.Duration(10 * time.Millisecond)}
	}))
	pid := r.state("app", Healthy).PID
	os.WriteFile(flag, nil, 0o600)
	if i := r.state("app", Unhealthy); i.PID != pid || i.Reason == "" {
		t.Errorf("%+v", i)
	}
	os.Remove(flag)
	if i := r.state("app", Healthy); i.PID != pid || i.Restarts != 0 {
		t.Errorf("%+v", i)
	}
	if got := r.ends.String(); got != "add app-1, remove app-1, add app-1" {
		t.Errorf("endpoints: %s", got)
	}
}

func TestLivenessRestarts(t *testing.T) {
	r := newRig(t)
	flag := filepath.Join(t.TempDir(), "dead")
	r.build.set("app", r.program())
	r.apply(svc("app", func(s *manifest.Service) {
		s.Liveness = &manifest.Probe{Command: manifest.Command{Args: []string{"test", "!", "-e", flag}}, Interval: manifest.Duration(10 * time.Millisecond)}
	}))
	pid := r.state("app", Healthy).PID
	os.WriteFile(flag, nil, 0o600)
	r.until("a restart that says why", func(s Snapshot) bool {
		is := s.Of("app")
		return len(is) == 1 && is[0].Restarts > 0 && strings.Contains(is[0].Reason, "failed its liveness probe")
	})
	os.Remove(flag)
	if i := r.state("app", Healthy); i.PID == pid {
		t.Errorf("%+v", i)
	}
}

// TestLivenessWaitsForTheFirstReadiness starts a program that takes many times as
// long to be ready as liveness has patience.
func TestLivenessWaitsForTheFirstReadiness(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program("-ready-after", "300ms"))
	r.apply(svc("app", func(s *manifest.Service) {
		s.Liveness = &manifest.Probe{HTTP: "/readyz", Interval: manifest.Duration(5 * time.Millisecond), Threshold: 1}
	}))
	if i := r.state("app", Healthy); i.Restarts > 0 {
		t.Errorf("%+v", i)
	}
}

// TestThereIsAlwaysAnInstanceOrChange holds that nobody who looks at a service that
// is being replaced finds nothing of it: requests would be refused.
func TestThereIsAlwaysAnInstanceOrChange(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", func(s *manifest.Service) { s.Reload = "replace" }))
	r.state("app", Healthy)
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			now := r.Look("app")
			service, _ := now.Service("app")
			alive := slices.ContainsFunc(now.Instances, func(i Instance) bool { return !i.State.Final() })
			if !alive && !service.Changing {
				t.Errorf("nothing: %+v", now)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for range 20 {
		before := r.Look("app").Instances[0].StartedAt
		if err := r.Restart("app"); err != nil {
			t.Fatal(err)
		}
		r.until("another", func(s Snapshot) bool {
			is := s.Of("app")
			return len(is) == 1 && is[0].State == Healthy && is[0].StartedAt != nil && is[0].StartedAt.After(*before)
		})
	}
	close(done)
	looking.Wait()
}

// TestWhatIsMendedIsNotBlamed while it is being built, and its log says how that went.
func TestWhatIsMendedIsNotBlamed(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	r.build.set("app", errors.New("syntax error"))
	_ = r.Rebuild("app")
	says := func(text string) {
		t.Helper()
		r.until(text, func(s Snapshot) bool { return strings.HasPrefix(reason(s.Of("app")), text) })
	}
	says("the newest code does not build: syntax error")
	release := r.build.hold()
	r.build.set("app", r.program("-version", "2"))
	_ = r.Rebuild("app")
	says("the newest code is being built")
	release()
	r.alone(func(i Instance) bool { return i.Version == "v3" && i.Reason == "" })
	lines := r.logs.Recent(logs.Query{Services: []string{"app"}})
	if !slices.ContainsFunc(lines, func(l logs.Line) bool { return l.Line == "it builds again: v3" }) {
		t.Errorf("%v", lines)
	}
}

// TestNothingStaysOfWhatNeverRan when it is removed: what did not build, and what waited.
func TestNothingStaysOfWhatNeverRan(t *testing.T) {
	r := newRig(t)
	r.build.set("broken", errors.New("syntax error"))
	r.build.set("waits", r.program())
	r.build.set("slow", r.program("-ready-after", "1h"))
	slow := svc("slow", nil)
	r.apply(slow, svc("broken", nil), svc("waits", func(s *manifest.Service) { s.DependsOn = manifest.Dependencies{"slow": manifest.Healthy} }))
	r.state("broken", Failed)
	r.until("waits waits", func(s Snapshot) bool { return strings.HasPrefix(reason(s.Of("waits")), "waits for slow") })
	r.apply(slow)
	r.until("slow alone", func(s Snapshot) bool { return len(s.Services) == 1 && len(s.Instances) == 1 })
}

// TestWhatDrainsIsForgotten when it has ended, also where it was started again before.
func TestWhatDrainsIsForgotten(t *testing.T) {
	r := newRig(t)
	r.ends.drain = 200 * time.Millisecond
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	if err := errors.Join(r.Stop("app"), r.Start("app")); err != nil {
		t.Fatal(err)
	}
	r.alone(func(i Instance) bool { return i.Instance == "app-2" })
}

func TestStopStartScaleRemove(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program("-ignore-term"))
	app := svc("app", func(s *manifest.Service) { s.Stop.Grace = manifest.Duration(50 * time.Millisecond) })
	r.apply(app)
	r.state("app", Healthy)
	_ = r.Stop("app")
	if i := r.state("app", Exited); i.Reason != "stopped: killed, since it did not end within 50ms" || i.PID != 0 {
		t.Errorf("%+v", i)
	}
	_ = r.Start("app")
	r.state("app", Healthy)
	if err := r.Scale("app", 3); err != nil {
		t.Fatal(err)
	}
	healthy := func(n int) func(Snapshot) bool {
		return func(s Snapshot) bool {
			for _, i := range s.Of("app") {
				if i.State != Healthy {
					return false
				}
			}
			return len(s.Of("app")) == n
		}
	}
	r.until("three", healthy(3))
	r.build.freed() // those of before
	_ = r.Scale("app", 1)
	r.until("one", healthy(1))
	if freed := r.build.freed(); fmt.Sprint(freed) != "[app-2 app-3]" {
		t.Errorf("freed: %q", freed)
	}
	_ = r.Restart("app")
	r.until("a new one", func(s Snapshot) bool { return healthy(1)(s) && s.Of("app")[0].Instance != "app-1" })
	r.apply()
	r.until("nothing", func(s Snapshot) bool { return len(s.Instances)+len(s.Services) == 0 })
	if err := r.Stop("app"); err == nil {
		t.Error("stopped a service that is not there")
	}
	if err := r.Scale("app", 1); err == nil {
		t.Error("scaled a service that is not there")
	}
}

func TestManifestChangeReplaces(t *testing.T) {
	r := newRig(t)
	r.build.set("app", r.program())
	r.apply(svc("app", nil))
	r.state("app", Healthy)
	r.apply(svc("app", func(s *manifest.Service) { s.Env = map[string]string{"A": "b"} }))
	r.alone(func(i Instance) bool { return i.Instance == "app-2" })
}

// TestExternal holds that a service which runs elsewhere takes traffic while it
// answers, can be taken out of use, and does not keep the supervisor from ending.
func TestExternal(t *testing.T) {
	r := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { ln.Close() }()
	address := ln.Addr().String()
	r.apply(svc("far", func(s *manifest.Service) {
		s.URL, s.Health = "http://"+address, &manifest.Probe{TCP: true, Interval: manifest.Duration(10 * time.Millisecond)}
	}))
	if i := r.state("far", Healthy); i.Driver != "external" || i.Address != address || i.PID != 0 {
		t.Errorf("%+v", i)
	}
	ln.Close()
	r.state("far", Unhealthy)
	if ln, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	r.state("far", Healthy)
	if err := r.Scale("far", 2); err == nil {
		t.Error("scaled what mesh does not run")
	}
	_ = r.Stop("far")
	r.state("far", Exited)
	_ = r.Start("far")
	r.state("far", Healthy)
	if got := r.ends.String(); got != "add far-1, remove far-1, add far-1, remove far-1, drain far-1, add far-1" {
		t.Errorf("endpoints: %s", got)
	}
}
