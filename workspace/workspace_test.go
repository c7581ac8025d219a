package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/devidentity"
	"github.com/ebef7166/mesh/devregistry"
	"github.com/ebef7166/mesh/internal/gomod"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openState(t *testing.T, dir string) *State {
	t.Helper()
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStateIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".mesh")
	s := openState(t, dir)
	ln, moved, err := s.Listen("registry")
	if err != nil || moved != nil {
		t.Fatal(moved, err)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	secret := s.Secret("oidc/cart")
	if len(secret) < 22 || secret == s.Secret("oidc/profile") {
		t.Fatalf("%q", secret)
	}
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	if info, _ := os.Stat(s.file()); info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file %v", info.Mode())
	}

	again := openState(t, dir)
	if got := again.Secret("oidc/cart"); got != secret {
		t.Error("the secret changed")
	}
	// The kept port is busy, so another is taken, and this is said.
	other, moved, err := again.Listen("registry")
	if err != nil || moved == nil || other.Addr().String() == ln.Addr().String() {
		t.Fatalf("%v %v", moved, err)
	}
	if !strings.Contains(moved.String(), "registry is busy") {
		t.Error(moved)
	}
	if err := again.Save(); err != nil {
		t.Fatal(err)
	}
	ln.Close()
	address := other.Addr().String()
	other.Close()
	third, moved, err := openState(t, dir).Listen("registry")
	if err != nil || moved != nil || third.Addr().String() != address {
		t.Errorf("not kept: %v %v %v", third.Addr(), moved, err)
	}
	third.Close()
}

// TestABusyUDPPortMovesBoth: that the port of UDP alone is busy is said, too.
func TestABusyUDPPortMovesBoth(t *testing.T) {
	s := openState(t, filepath.Join(t.TempDir(), ".mesh"))
	tcp, udp, moved, err := s.ListenBoth(registryDNS)
	if err != nil || moved != nil {
		t.Fatal(moved, err)
	}
	defer udp.Close()
	tcp.Close()
	otherTCP, otherUDP, moved, err := s.ListenBoth(registryDNS)
	if err != nil {
		t.Fatal(err)
	}
	otherTCP.Close()
	otherUDP.Close()
	if moved == nil || moved.From != tcp.Addr().(*net.TCPAddr).Port || moved.To != otherTCP.Addr().(*net.TCPAddr).Port {
		t.Errorf("%+v", moved)
	}
}

func TestStateOfOthersIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, ".mesh")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenState(filepath.Join(dir, ".mesh")); err == nil || !strings.Contains(err.Error(), "but a symbolic link; remove it") {
		t.Errorf("a symlink: %v", err)
	}
	os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
	os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling"))
	for name, want := range map[string]string{"file": "but a file; remove it", "dangling": "but a symbolic link; remove it"} {
		if _, err := OpenState(filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := filepath.Join(t.TempDir(), ".mesh")
	s := openState(t, broken)
	os.WriteFile(s.file(), []byte("{"), 0o600)
	if _, err := OpenState(broken); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a broken file: %v", err)
	}
}

// What waits in the log's place is neither written through nor waited for.
func TestTheLogIsAFileOfItsOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".mesh")
	s := openState(t, dir)
	victim, beside := filepath.Join(t.TempDir(), "victim"), s.Path("run", "beside")
	for _, name := range []string{victim, beside} {
		os.WriteFile(name, []byte("keep"), 0o600)
	}
	for _, target := range []string{victim, "beside", "dangling"} {
		if err := os.Symlink(target, Log(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLog(dir); err == nil || !strings.Contains(err.Error(), "but a symbolic link; remove it") {
			t.Errorf("a link to %s: %v", target, err)
		}
		os.Remove(Log(dir))
	}
	for range 2 {
		f, err := OpenLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("said\n")
		f.Close()
	}
	said, _ := os.ReadFile(Log(dir))
	if info, err := os.Lstat(Log(dir)); err != nil || info.Mode() != 0o600 || string(said) != "said\nsaid\n" {
		t.Errorf("%v %v %q", info, err, said)
	}
}

func TestFullDiskIsRefused(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, ".mesh") // not made yet: its disk is the parent's
	disk := func(left uint64) func(string) (uint64, bool) {
		return func(of string) (uint64, bool) { return left, of == parent }
	}
	var full *DiskFullError
	if err := checkRoom(dir, disk(12<<10)); !errors.As(err, &full) || !strings.Contains(err.Error(), "the disk of "+dir+" is full: 12 KiB") {
		t.Error(err)
	}
	if err := checkRoom(dir, disk(leastFree)); err != nil {
		t.Error(err)
	}
	if err := checkRoom(filepath.Join(dir, "deeper"), disk(0)); err != nil {
		t.Errorf("nothing is known of that disk: %v", err)
	}
}

func TestReservedPortsAreNotShared(t *testing.T) {
	a, b := openState(t, filepath.Join(t.TempDir(), "a")), openState(t, filepath.Join(t.TempDir(), "b"))
	var ra, rb reservations
	defer ra.release()
	defer rb.release()
	seen := map[string]bool{}
	for i := range 200 {
		for name, take := range map[string]func() (string, error){
			"a": func() (string, error) { return ra.take(a, "a-"+string(rune(i))) },
			"b": func() (string, error) { return rb.take(b, "b-"+string(rune(i))) },
		} {
			address, err := take()
			if err != nil || seen[address] {
				t.Fatalf("%s: %s given twice, or %v", name, address, err)
			}
			seen[address] = true
		}
	}
}

func TestBusyNamesTheHolder(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, err = net.Listen("tcp", ln.Addr().String())
	var b *BusyError
	if err = busy(t.Context(), ln.Addr().String(), err); !errors.As(err, &b) || !strings.Contains(err.Error(), "is in use by workspace.test (pid ") {
		t.Error(err)
	}
}

const twoServices = `version: 1
name: shop
gateway: {address: "127.0.0.1:0"}
identity: {users: [{name: alice, roles: [customer]}]}
services:
  api: {dir: ., run: ["true"], publishes: [api.done], database: {engine: sqlite}, env: {LEVEL: "${LEVEL:-info}", DSN: "${DATABASE_URL}?x", KEY: "k-${OIDC_CLIENT_SECRET}"}}
  web-app: {dir: ., run: ["true"], calls: [api], consumes: [api.done], port: 19417, env_from_host: [ASKED]}
`

func openWorkspace(t *testing.T, text string) *Workspace {
	t.Helper()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600)
	os.WriteFile(filepath.Join(dir, ".env"), []byte("FROM_FILE=secret value\nLEVEL=debug\n"), 0o600)
	w, err := openIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	return w
}

// openIn opens the workspace of a folder, with all of its services.
func openIn(t *testing.T, dir string) (*Workspace, error) {
	t.Helper()
	return Open(t.Context(), Options{State: openState(t, filepath.Join(dir, ".mesh")), Logger: slog.New(slog.DiscardHandler),
		Read: func() (*manifest.Workspace, manifest.Selection, error) {
			m, err := manifest.Load(dir)
			return m, manifest.Selection{}, err
		}})
}

// openWithPortOf opens twoServices once more, with the port that a built-in kept from the
// first time in place of what stands there.
func openWithPortOf(t *testing.T, builtin, old, format string) (after *Workspace, port int) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "mesh.yaml")
	os.WriteFile(path, []byte(twoServices), 0o600)
	before, err := openIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	port = before.state.kept.Ports[builtin]
	before.close()
	os.WriteFile(path, []byte(strings.Replace(twoServices, old, fmt.Sprintf(format, port), 1)), 0o600)
	if after, err = openIn(t, dir); err != nil {
		t.Fatalf("%s: %v", builtin, err)
	}
	t.Cleanup(after.close)
	return after, port
}

// TestTheBrokerGivesWay: it has begun, at the port of the last run, when the manifest
// gives that port to the gateway.
func TestTheBrokerGivesWay(t *testing.T) {
	after, port := openWithPortOf(t, "broker", "127.0.0.1:0", "127.0.0.1:%d")
	address := fmt.Sprint("127.0.0.1:", port)
	if after.urls["gateway"] != "http://"+address {
		t.Errorf("the gateway listens at %s, not at %s", after.urls["gateway"], address)
	}
	broker, err := after.broker.begun()
	if err != nil {
		t.Fatal(err)
	}
	if at := broker.Addr(); at == address || at != after.brokerAddress() || len(after.Moves()) != 1 || !strings.Contains(after.Moves()[0], "broker") {
		t.Errorf("the broker is at %s, and told at %s: %q", at, after.brokerAddress(), after.Moves())
	}
	if err := broker.Publish(t.Context(), "api.done", nil); err != nil {
		t.Error(err)
	}
}

// TestABuiltInGivesWay to a service's fixed port, the broker too.
func TestABuiltInGivesWay(t *testing.T) {
	for _, what := range []string{"broker", "registry"} {
		after, port := openWithPortOf(t, what, "port: 19417", "port: %d")
		if ports := after.FixedPorts(); len(ports) != 1 || ports[0].URL != fmt.Sprint("http://127.0.0.1:", port) {
			t.Errorf("%s: %+v", what, ports)
		}
		if moves := after.Moves(); len(moves) != 1 || !strings.Contains(moves[0], what) {
			t.Errorf("%s: %q", what, moves)
		}
	}
}

// TestWhatCouldNotBeReadIsNotNothing: an instance that was started beside files that could
// not be read is told what they say when they say nothing, too.
func TestWhatCouldNotBeReadIsNotNothing(t *testing.T) {
	s := &manifest.Service{}
	if identify(s, nil) == identify(s, map[string]string{}) {
		t.Error("they are taken for one")
	}
}

// TestNothingIsLeftOfABadManifest: the broker began before it was read.
func TestNothingIsLeftOfABadManifest(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte("version: 2\n"), 0o600)
	if _, err := openIn(t, dir); err == nil || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("ASKED", "yes")
	t.Setenv("NOT_ASKED", "secret of mesh's own")
	w := openWorkspace(t, twoServices)
	api, err := w.Variables("api")
	if err != nil {
		t.Fatal(err)
	}
	web, err := w.Variables("web-app")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"MESH_SERVICE": "api", "OIDC_AUDIENCE": "shop", "OIDC_CLIENT_ID": "api", "OIDC_ISSUER": w.urls["identity"], "LEVEL": "debug",
		"DATABASE_URL": "sqlite://" + w.state.Path("data", "api", "api.db"), "DSN": "sqlite://" + w.state.Path("data", "api", "api.db") + "?x",
		"OTEL_SERVICE_NAME": "api", "ASKED": "", "NOT_ASKED": "", "FROM_FILE": "secret value", "API_URL": "",
	} {
		if got := api.Values[name]; got != want {
			t.Errorf("api: %s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"OIDC_CLIENT_SECRET", "NATS_URL", "FROM_FILE", "KEY"} {
		if !api.Secrets[name] || api.Values[name] == "" {
			t.Errorf("%s is no secret: %q", name, api.Values[name])
		}
	}
	if web.Values["ASKED"] != "yes" || web.Values["NOT_ASKED"] != "" || web.Values["PORT"] != "19417" {
		t.Errorf("web: %v", web.Values)
	}
	if !strings.HasPrefix(web.Values["API_URL"], "http://127.0.0.1:") || "http://"+web.Values["API_ADDR"] != web.Values["API_URL"] {
		t.Errorf("link: %s %s", web.Values["API_URL"], web.Values["API_ADDR"])
	}
	if web.Values["NATS_URL"] == api.Values["NATS_URL"] {
		t.Error("two services share a login")
	}
	if _, err := w.Variables("nope"); err == nil {
		t.Error("no error for a service that is not there")
	}
}

// TestLinksFollowTheManifest: another fixed port, and another protocol at the address
// that callers were told.
func TestLinksFollowTheManifest(t *testing.T) {
	w := openWorkspace(t, twoServices)
	before := w.links.address("web-app", "api")
	changed := strings.NewReplacer("port: 19417", "port: 19418", "api: {dir: .,", "api: {dir: ., protocol: tcp,").Replace(twoServices)
	os.WriteFile(filepath.Join(w.Manifest().Dir, "mesh.yaml"), []byte(changed), 0o600)
	next, err := w.Load()
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.manifest, w.selected = next, next.Services
	w.mu.Unlock()
	if err := w.configure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ports := w.FixedPorts(); len(ports) != 1 || ports[0].URL != "http://127.0.0.1:19418" {
		t.Errorf("%+v", ports)
	}
	if ln, err := listen(19417); err != nil {
		t.Error("the port that was fixed before is still held:", err)
	} else {
		ln.Close()
	}
	if link := w.links.open[edge{"web-app", "api"}]; !link.tcp || w.links.address("web-app", "api") != before {
		t.Errorf("tcp: %t, at %s instead of %s", link.tcp, w.links.address("web-app", "api"), before)
	}
}

func TestTokensAreTheWorkspaces(t *testing.T) {
	w := openWorkspace(t, twoServices)
	token, err := w.Token(t.Context(), devidentity.TokenRequest{User: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	id, err := verifier{w.identity.Verifier()}.Verify(t.Context(), token)
	if err != nil || id.Subject != "alice" || !slices.Equal(id.Roles, []string{"customer"}) {
		t.Errorf("%+v %v", id, err)
	}
	if _, err := w.Token(t.Context(), devidentity.TokenRequest{User: "eve"}); err == nil {
		t.Error("a token for nobody")
	}
}

func TestRunStopsWhole(t *testing.T) {
	w := openWorkspace(t, twoServices)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, t.Context()) }()
	err := w.supervisor.Watch(ctx, func(s runtime.Snapshot) bool { return len(s.Instances) == 2 })
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if conn, err := net.DialTimeout("tcp", hostOf(w.urls["gateway"]), time.Second); err == nil {
		conn.Close()
		t.Error("the gateway still listens")
	}
}

func TestAffected(t *testing.T) {
	services := []*manifest.Service{
		{Name: "a", Dir: "/w/services/a", Go: "./cmd/a"},
		{Name: "b", Dir: "/w/services/b", Go: "."},
		{Name: "js", Dir: "/w/services/js", Watch: manifest.Strings{"src/**/*.ts", "package.json"}},
		{Name: "manual", Dir: "/w/services/manual", Watch: manifest.Strings{"manual"}},
		{Name: "py", Dir: "/w/services/py"},
		{Name: "out", Dir: "/w/services/out", Watch: manifest.Strings{"src", "./../../common/**"}},
	}
	all := append(slices.Clone(services), &manifest.Service{Name: "idle", Dir: "/w/services/idle", Go: "."})
	modules := []gomod.Module{
		{Dir: "/w/services/a", Path: "w/a", Requires: []string{"w/contracts"}},
		{Dir: "/w/services/b", Path: "w/b", Requires: []string{"elsewhere"}},
		{Dir: "/w/services/idle", Path: "w/idle"},
		{Dir: "/w/contracts", Path: "w/contracts", Requires: []string{"w/shared"}},
		{Dir: "/w/shared", Path: "w/shared"},
	}
	for path, want := range map[string]string{
		"/w/services/a/x.go":              "a",
		"/w/services/a/x_test.go":         "",
		"/w/services/a/README.md":         "",
		"/w/services/a/migrations/1.sql":  "a",
		"/w/contracts/a/v1/a.pb.go":       "a",
		"/w/contracts/a/v1/a_test.go":     "",
		"/w/shared/x.go":                  "a",
		"/w/services/b/b.go":              "b",
		"/w/services/idle/x.go":           "",
		"/w/README.md":                    "",
		"/w/services/js/src/x/y.ts":       "js",
		"/w/services/js/src/y.ts":         "js",
		"/w/services/js/other.ts":         "",
		"/w/services/manual/x.go":         "",
		"/w/services/py/app.py":           "py",
		"/w/services/a/mesh.service.yaml": "",
		"/w/go.work":                      "a b",
		"/w/common/x/y.txt":               "out",
		"/w/services/out/other":           "",
	} {
		names := slices.Sorted(maps.Keys(affected(all, services, sources{modules: modules}, []string{filepath.FromSlash(path)})))
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// One module without a go.work: each service in it may import the folder of another.
func TestAffectedInOneModule(t *testing.T) {
	services := []*manifest.Service{{Name: "api", Dir: "/w/services/api", Go: "."}, {Name: "back", Dir: "/w/services/back", Go: "."}, {Name: "py", Dir: "/w/services/py"}}
	modules := []gomod.Module{{Dir: "/w", Path: "example.com/mono"}}
	for path, want := range map[string]string{
		"/w/services/back/types/t.go": "api back",
		"/w/lib/l.go":                 "api back",
		"/w/go.mod":                   "api back",
		"/w/services/py/app.py":       "py",
		"/w/services/back/README.md":  "",
	} {
		names := slices.Sorted(maps.Keys(affected(services, services, sources{modules: modules}, []string{path})))
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	m, err := manifest.Load(writeChain(t))
	if err != nil {
		t.Fatal(err)
	}
	code := 3
	now := runtime.Snapshot{
		Services: []runtime.Service{{Name: "a"}, {Name: "b"}, {Name: "c"}},
		Instances: []runtime.Instance{
			{Service: "a", Instance: "a-1", State: runtime.Pending, Reason: "waits for b to be healthy"},
			{Service: "b", Instance: "b-1", State: runtime.Pending, Reason: "waits for c to be healthy"},
			{Service: "c", Instance: "c-1", State: runtime.Failed, Reason: "5 starts within 10s", ExitCode: &code},
		},
	}
	a, _ := m.Service("a")
	e := explain(a, now, m)
	if all := strings.Join(e.Causes, "\n"); !strings.Contains(all, "b is pending") || !strings.Contains(all, "c is failed: 5 starts") || e.Next != "mesh why c" {
		t.Errorf("%+v", e)
	}
	now.Services[2].BuildError = "services/c/x.go:1:1: undefined: y"
	c, _ := m.Service("c")
	if e := explain(c, now, m); !strings.Contains(strings.Join(e.Causes, "\n"), "x.go:1:1") || !strings.Contains(e.Next, "save") {
		t.Errorf("%+v", e)
	}
	building := runtime.Snapshot{Services: []runtime.Service{{Name: "c", Building: true, Progress: "compiles x, 1 of 9"}},
		Instances: []runtime.Instance{{Service: "c", Instance: "c-1", State: runtime.Building}}}
	if e := explain(c, building, m); !slices.Contains(e.Causes, "building: compiles x, 1 of 9") {
		t.Errorf("building: %+v", e)
	}
	zero := 0
	stopped := runtime.Snapshot{Services: []runtime.Service{{Name: "c"}}, Instances: []runtime.Instance{{Service: "c", Instance: "c-1", State: runtime.Exited, ExitCode: &zero, Reason: "stopped"}}}
	if e := explain(c, stopped, m); e.Next != "mesh start c" || len(e.Causes) != 1 {
		t.Errorf("stopped: %+v", e)
	}
	stopped.Instances[0].State, stopped.Instances[0].Reason = runtime.Healthy, "the new version did not become healthy"
	if e := explain(c, stopped, m); !strings.Contains(e.Next, "mesh restart c") {
		t.Errorf("the old version serves: %+v", e)
	}
	swap := runtime.Snapshot{Services: []runtime.Service{{Name: "c"}}, Instances: []runtime.Instance{
		{Service: "c", Instance: "c-1", State: runtime.Healthy}, {Service: "c", Instance: "c-2", State: runtime.Starting}}}
	if e := explain(c, swap, m); e.State != "starting" || !slices.Equal(e.Serving, []string{"c-1"}) {
		t.Errorf("in a swap: %+v", e)
	}
	worker := *c
	worker.Kind = manifest.KindWorker
	stopped.Instances[0].Reason = ""
	if all := strings.Join(explain(&worker, stopped, m).Causes, "\n"); strings.Contains(all, "traffic") || !strings.Contains(all, "c-1 is healthy") {
		t.Errorf("a worker: %s", all)
	}
	if e := explain(c, runtime.Snapshot{}, m); e.State != "not running" || e.Next != "mesh up c" {
		t.Errorf("%+v", e)
	}
}

// TestWhatTheRegistryKeepsAway is told by mesh why and by the gateway's 503.
func TestWhatTheRegistryKeepsAway(t *testing.T) {
	r, err := devregistry.New(devregistry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoints{registry: r, here: map[string]told{}}
	for _, id := range []string{"c-1", "c-2"} {
		r.Register(devregistry.Instance{ID: id, Service: "c"})
		e.here[id] = told{Instance: runtime.Instance{Service: "c", Instance: id}}
	}
	request := httptest.NewRequest(http.MethodPut, "/v1/agent/check/register", strings.NewReader(`{"ID":"disk","Name":"disk","ServiceID":"c-2","TTL":"1h"}`))
	request.RemoteAddr = "127.0.0.1:1"
	r.Handler().ServeHTTP(httptest.NewRecorder(), request)
	silent := e.silent("c")
	if len(silent) != 1 || silent["c-2"] != "its check disk in the registry is critical" || len(e.silent("b")) != 0 {
		t.Fatalf("kept away: %v", silent)
	}
	told := Explanation{Service: "c", State: "healthy", Causes: []string{"c-2 " + takesTraffic}, Serving: []string{"c-1", "c-2"}, Next: "nothing to do"}
	told.silenced(silent)
	if want := []string{"c-2 is healthy and gets no requests: its check disk in the registry is critical"}; !slices.Equal(told.Causes, want) || !slices.Equal(told.Serving, []string{"c-1"}) || told.Next == "nothing to do" {
		t.Errorf("%+v", told)
	}
	if got := keptAway(silent); got != "c-2 is healthy and gets no requests: its check disk in the registry is critical" {
		t.Errorf("the gateway's: %s", got)
	}
}

// TestExplainASignal: -1 is no exit code, and the reason says what it was.
func TestExplainASignal(t *testing.T) {
	m, err := manifest.Load(writeChain(t))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := m.Service("c")
	for code, want := range map[int]int{-1: 1, 3: 2} {
		now := runtime.Snapshot{Services: []runtime.Service{{Name: "c"}}, Instances: []runtime.Instance{
			{Service: "c", Instance: "c-1", State: runtime.Backoff, Reason: "failed its liveness probe 2 times: 503", ExitCode: &code}}}
		if e := explain(c, now, m); len(e.Causes) != want {
			t.Errorf("%d: %q", code, e.Causes)
		}
	}
}

func writeChain(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte("version: 1\nname: chain\nservices:\n  a: {run: x, depends_on: [b]}\n  b: {run: x, depends_on: [c]}\n  c: {run: x}\n"), 0o600)
	return dir
}

func TestOnlyOneHasTheState(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".mesh")
	if err := openState(t, dir).Lock(); err != nil {
		t.Fatal(err)
	}
	if err := openState(t, dir).Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("a second one: %v", err)
	}
}

func TestAServiceThatWritesItsOwnFilesIsCalmed(t *testing.T) {
	s, at := &storms{}, time.Now()
	py := &manifest.Service{Name: "py"}
	for i := range stormReloads {
		if ok, _ := s.allow(py, "out.data", at.Add(time.Duration(i)*time.Second)); !ok {
			t.Fatalf("calmed after %d", i)
		}
	}
	last := at.Add(stormWindow / 2)
	if ok, say := s.allow(py, "out.data", last); ok || !strings.Contains(say, "for out.data") || !strings.Contains(say, "watch:") {
		t.Errorf("%v %q", ok, say)
	}
	if ok, say := s.allow(py, "out.data", last); ok || say != "" || len(s.said()) != 1 {
		t.Errorf("said twice: %v %q", ok, say)
	}
	if ok, _ := s.allow(py, "app.py", last); !ok {
		t.Error("a save of another kind is ignored, too")
	}
	if left := s.counting(py, "/w", []string{"/w/app.py", "/w/out.data"}); !slices.Equal(left, []string{"/w/app.py"}) {
		t.Errorf("%v", left)
	}
	for i := range 3 * stormReloads { // under a new name each time
		s.allow(py, fmt.Sprintf("tmp%d/file", i), last)
	}
	if ok, _ := s.allow(py, "app.py", last); ok || len(s.said()) != 2 {
		t.Errorf("never calmed: %q", s.said())
	}
	for _, other := range []*manifest.Service{{Name: "golang", Go: "."}, {Name: "knows", Watch: manifest.Strings{"*.data"}}} {
		for range 3 * stormReloads {
			if ok, _ := s.allow(other, "x", at); !ok {
				t.Errorf("%s is calmed", other.Name)
			}
		}
	}
	s.forget()
	for i := range 3 * stormReloads { // slow enough for a person
		if ok, _ := s.allow(py, "app.py", at.Add(time.Duration(i)*3*time.Second)); !ok {
			t.Errorf("calmed although it was slow: %d", i)
		}
	}
}

const noEvents = "version: 1\nname: quiet\ngateway: {address: \"127.0.0.1:0\"}\nservices: {a: {dir: ., run: [\"true\"], kind: task}}\n"

// TestTheBrokerBegins with the workspace where a service uses events, and else when
// somebody asks for it, or connects.
func TestTheBrokerBegins(t *testing.T) {
	begun := func(w *Workspace) bool { return w.broker.started.Load() != nil }
	w := openWorkspace(t, twoServices)
	if err := w.Begun(); err != nil || !begun(w) {
		t.Errorf("begun: %v, %v", begun(w), err)
	}
	w = openWorkspace(t, noEvents)
	if err := w.Begun(); err != nil || begun(w) {
		t.Errorf("begun: %v, %v", begun(w), err)
	}
	if err := w.readmit(t.Context()); err != nil || begun(w) {
		t.Errorf("begun: %v, %v", begun(w), err)
	}
	if problems := w.Problems(); begun(w) || len(problems) > 0 {
		t.Errorf("begun: %v, %q", begun(w), problems)
	}
	if dead, err := w.DeadEvents(t.Context(), 1); err != nil || len(dead) > 0 || !begun(w) {
		t.Errorf("%v, %v, begun: %v", dead, err, begun(w))
	}
	w = openWorkspace(t, noEvents)
	for range 3 { // passed on, and by itself
		conn, err := nats.Connect(w.brokerURL("a"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.FlushTimeout(10 * time.Second); err != nil || !begun(w) {
			t.Errorf("begun: %v, %v", begun(w), err)
		}
	}
	w.close()
	if _, err := w.broker.again(); err == nil {
		t.Error("it begins anew")
	}
}

// TestABrokerThatNobodyNeeds may fail: that is told, and tried again for who asks.
func TestABrokerThatNobodyNeeds(t *testing.T) {
	w := openWorkspace(t, noEvents)
	start, is := w.broker.start, func(start func() (*devbroker.Broker, error)) {
		w.broker.mu.Lock()
		defer w.broker.mu.Unlock()
		w.broker.start = start
	}
	is(func() (*devbroker.Broker, error) { return nil, errors.New("broker: no room") })
	if conn, err := nats.Connect(w.brokerURL("a")); err == nil {
		conn.Close()
		t.Error("it answers")
	}
	if problems := w.Problems(); !slices.Contains(problems, "broker: no room") {
		t.Errorf("%q", problems)
	}
	if err := w.readmit(t.Context()); err != nil {
		t.Error(err)
	}
	is(start)
	if dead, err := w.DeadEvents(t.Context(), 1); err != nil || len(dead) > 0 || len(w.Problems()) > 0 {
		t.Errorf("%v, %v, %q", dead, err, w.Problems())
	}
}

// TestABrokerThatIsNeeded and cannot begin is tried once, whoever waits for it.
func TestABrokerThatIsNeeded(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(twoServices), 0o600)
	w, err := openIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	w.close()
	data := filepath.Join(dir, ".mesh", "data", "broker")
	os.RemoveAll(data)
	os.WriteFile(data, nil, 0o600)
	if w, err = openIn(t, dir); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var failures []error
	_, err = w.broker.begun()
	failures = append(failures, err, w.Begun(), w.Run(t.Context(), t.Context()))
	_, err = w.broker.begun() // who was late to ask: Run has closed it
	failures = append(failures, err)
	for _, err := range failures {
		if err == nil || !strings.Contains(err.Error(), "storage directory is not a directory") || !errors.Is(err, failures[0]) {
			t.Errorf("%v", err)
		}
	}
}
