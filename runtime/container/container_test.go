package container

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/patternmatcher"
	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheBaseHoldsWhatProgramsLookFor(t *testing.T) {
	said, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	goroot := strings.TrimSpace(string(said))
	l, err := baseLayer(goroot)
	if err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	if err := l.write(&data); err != nil || int64(data.Len()) != l.size {
		t.Fatalf("%d bytes of %d, %v", data.Len(), l.size, err)
	}
	found := map[string]*tar.Header{}
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if found[h.Name] != nil {
			t.Errorf("%s is there twice", h.Name)
		}
		found[h.Name] = h
	}
	for _, name := range []string{"etc/passwd", "etc/group", "usr/share/zoneinfo/Europe/Berlin", "etc/", "usr/share/zoneinfo/Europe/"} {
		if found[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	if h := found["tmp/"]; h == nil || h.Mode != 0o1777 {
		t.Errorf("/tmp: %+v", h)
	}
	if h := found["home/nonroot/"]; h == nil || h.Uid != Nobody {
		t.Errorf("the home: %+v", h)
	}
	again, err := baseLayer(goroot)
	if err != nil || again.id != l.id {
		t.Errorf("made twice: %s and %s, %v", l.id, again.id, err)
	}
}

func TestAnImageIsNamedByItsContent(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	image := func(text, service string) *image {
		if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := programLayer(service, program)
		if err != nil {
			t.Fatal(err)
		}
		e := &Engine{owner: Owner{Workspace: "/w", Name: "Shop", State: "/w/.mesh"}, arch: "amd64"}
		return e.newImage(&manifest.Service{Name: service}, l)
	}
	one, same, other := image("a", "cart"), image("a", "cart"), image("b", "cart")
	if one.name != same.name || one.name == other.name || !strings.HasPrefix(one.name, "mesh/shop-cart:") {
		t.Errorf("%s %s %s", one.name, same.name, other.name)
	}
	if strings.Contains(string(one.config), "dev.mesh.run") {
		t.Error("the image is another one in each run")
	}
	var archive bytes.Buffer
	if err := other.archive(&archive); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		names = append(names, h.Name)
	}
	if want := []string{other.layers[0].id + ".tar", other.id + ".json", "manifest.json"}; len(names) != 3 || !slices.Contains(names, want[0]) || !slices.Contains(names, want[1]) || !slices.Contains(names, want[2]) {
		t.Errorf("%v", names)
	}
}

func TestNames(t *testing.T) {
	a, b := Owner{Name: "My Shop", State: "/a"}, Owner{Name: "My Shop", State: "/b"}
	if a.prefix() == b.prefix() || !strings.HasPrefix(a.prefix(), "mesh-my-shop-") {
		t.Errorf("%s %s", a.prefix(), b.prefix())
	}
}

func TestUser(t *testing.T) {
	if got := User(&manifest.Service{User: "postgres"}); got != "postgres" {
		t.Errorf("%s", got)
	}
	uid, _, ok := numbers(User(&manifest.Service{}))
	if !ok || uid == 0 || os.Getuid() > 0 && uid != os.Getuid() {
		t.Errorf("a container runs as %d", uid)
	}
	for _, text := range []string{"postgres", "1:staff", ""} {
		if _, _, ok := numbers(text); ok {
			t.Errorf("%q is taken for numbers", text)
		}
	}
}

func TestLimits(t *testing.T) {
	var to container.Resources
	if err := limit(&to, &manifest.Resources{CPUs: 1.5, Memory: "64MiB"}); err != nil || to.NanoCPUs != 1.5e9 || to.Memory != 64<<20 || to.MemorySwap != to.Memory {
		t.Errorf("%+v %v", to, err)
	}
	if err := limit(&to, &manifest.Resources{Memory: "much"}); err == nil {
		t.Error("much is an amount")
	}
}

func TestPublishesOnLoopbackOnly(t *testing.T) {
	l := runtime.Launch{Service: &manifest.Service{Ports: map[string]manifest.Port{"admin": {}}}, Address: "127.0.0.1:20001", Env: []string{"PORT=7000"}}
	exposed, bound, err := publish(l)
	if err != nil || len(exposed) != 2 || len(bound) != 2 {
		t.Fatalf("%v %v %v", exposed, bound, err)
	}
	for port, at := range bound {
		if !at[0].HostIP.IsLoopback() {
			t.Errorf("%v on %v", port, at)
		}
		if want := map[uint16]string{7000: "20001", 8081: ""}[port.Num()]; at[0].HostPort != want {
			t.Errorf("%v at %q", port, at[0].HostPort)
		}
	}
}

func TestTheSocketIsNotMounted(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "run", "engine.sock"))
	api, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	e := &Engine{api: api}
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run", "engine.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "innocent")
	if err := os.Symlink(filepath.Join(dir, "run"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "run", "engine.sock"), filepath.Join(dir, "run"), dir, "/", link, filepath.Join(dir, "run", "..", "run")} {
		if !e.reachesSocket(path) {
			t.Errorf("%s may be mounted", path)
		}
	}
	for _, path := range []string{filepath.Join(dir, "other"), filepath.Join(dir, "run", "engine.socket")} {
		if e.reachesSocket(path) {
			t.Errorf("%s may not be mounted", path)
		}
	}
}

func TestNoEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "engine.sock")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	_, err := Connect(t.Context(), Owner{Name: "shop", State: "/s"}, "")
	if !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), socket) || !strings.Contains(err.Error(), "DOCKER_HOST") {
		t.Errorf("%v", err)
	}
	t.Setenv("DOCKER_HOST", "nonsense")
	if _, err := Connect(t.Context(), Owner{}, ""); err == nil || !strings.Contains(err.Error(), "DOCKER_HOST") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	if err := SweepRun(ctx, "run"); err == nil {
		t.Error("swept nothing")
	}
}

func TestBasesOfADockerfile(t *testing.T) {
	text := "# FROM nothing\nARG V=1\nFROM --platform=linux/amd64 golang:1.26 AS build\nfrom build as next\nFROM base:${V}\nFROM scratch\nFROM gcr.io/x/y:nonroot\n"
	if got := basesOf(text); !slices.Equal(got, []string{"golang:1.26", "gcr.io/x/y:nonroot"}) {
		t.Errorf("%q", got)
	}
}

func TestBuildMessages(t *testing.T) {
	var said []string
	see := func(text string) { said = append(said, text) }
	err := readStream(strings.NewReader(`{"stream":"Step 1/2"}{"aux":{"ID":"sha256:1"}}{"error":"it broke","errorDetail":{}}`), see)
	if err == nil || err.Error() != "it broke" || !slices.Equal(said, []string{"Step 1/2"}) {
		t.Errorf("%q %v", said, err)
	}
	if err := readStream(strings.NewReader(`{"stream":`), see); err == nil {
		t.Error("half a message is fine")
	}
}

func FuzzBuildkitLog(f *testing.F) {
	// A VertexLog with the message "hello" in a StatusResponse.
	good, _ := json.Marshal([]byte("\x1a\x09\x18\x01\x22\x05hello"))
	f.Add(good)
	f.Add([]byte(`"AAAA"`))
	f.Fuzz(func(t *testing.T, aux []byte) {
		texts := buildkitLog(aux)
		if bytes.Equal(aux, good) && !slices.Equal(texts, []string{"hello"}) {
			t.Errorf("%q", texts)
		}
	})
}

// A workspace that was opened through a link is sent as any other.
func TestPackThroughALink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(real, 0o700), os.WriteFile(filepath.Join(real, "Dockerfile"), []byte("FROM scratch\n"), 0o600), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	if err := pack(&sent, link, ignored); err != nil {
		t.Fatal(err)
	}
	if head, err := tar.NewReader(&sent).Next(); err != nil || head.Name != "Dockerfile" {
		t.Errorf("%v %v", head, err)
	}
}
