//go:build linux

package build

import (
	"context"
	"debug/elf"
	"errors"
	"io"
	goruntime "runtime"
	"sync"
	"testing"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// shelf is an engine that takes every image and runs none.
type shelf struct {
	mu       sync.Mutex
	programs map[string]string // what was packed, by service
}

func (s *shelf) Arch() string { return goruntime.GOARCH }

func (s *shelf) Program(_ context.Context, svc *manifest.Service, file string, _ func(context.Context) string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.programs[svc.Name] = file
	return "image-of-" + svc.Name, nil
}

func (s *shelf) Dockerfile(_ context.Context, _ *manifest.Service, _ string, said io.Writer) (runtime.Artifact, error) {
	_, _ = io.WriteString(said, "step one\n")
	return runtime.Artifact{}, errors.New("it broke")
}

func (s *shelf) Named(_ context.Context, svc *manifest.Service, _ func(string)) (runtime.Artifact, error) {
	return runtime.Artifact{Version: "1", Image: svc.Image}, nil
}

// TestLastStep: of what the engine has said, people are told what led to the failure.
func TestLastStep(t *testing.T) {
	const earlier = "Step 1/3 : FROM scratch\n ---> \nStep 2/3 : ENV X=y\n ---> Running in 1a\nRemoving intermediate container 1a\n ---> a7\n"
	for said, want := range map[string]string{
		"":                                     "",
		"pull access denied":                   "pull access denied",
		earlier + "Step 3/3 : COPY nothing /x": "Step 3/3 : COPY nothing /x",
		earlier + "Step 3/3 : RUN make\n ---> Running in 1b\nmain.c:1: no\nmake: it failed\nRemoving intermediate container 1b": "Step 3/3 : RUN make\nmain.c:1: no\nmake: it failed",
		earlier + "Step 3/3 : RUN make\ncc: no\n ---> here\nStep 2 of 4 failed":                                                 "Step 3/3 : RUN make\ncc: no\n ---> here\nStep 2 of 4 failed",
	} {
		if got := lastStep(said); got != want {
			t.Errorf("%q: %q, want %q", said, got, want)
		}
	}
}

// artifacts are what a build makes of services; errors are kept as versions.
func (r *rig) artifacts(services ...*manifest.Service) map[string]runtime.Artifact {
	found := map[string]runtime.Artifact{}
	var mu sync.Mutex
	r.Build(r.t.Context(), services, func(name string, a runtime.Artifact, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			a = runtime.Artifact{Version: "error: " + err.Error()}
		}
		found[name] = a
	})
	return found
}

func TestContainersGetImages(t *testing.T) {
	r := newRig(t)
	images := &shelf{programs: map[string]string{}}
	r.Images = func() Images { return images }
	t.Setenv("CGO_ENABLED", "1") // processes are built in the user's way, and so apart
	for _, s := range r.services {
		if s.Name != "b" {
			s.Driver = "container"
		}
	}
	got := r.artifacts(append(r.services, &manifest.Service{Name: "named", Dir: r.Dir, Image: "redis:7"},
		&manifest.Service{Name: "file", Dir: r.Dir, Dockerfile: "Dockerfile"})...)
	for _, name := range []string{"a", "c"} {
		if got[name].Image != "image-of-"+name || got[name].Version == "" || len(got[name].Argv) != 0 {
			t.Errorf("%s: %+v", name, got[name])
		}
		static(t, images.programs[name])
	}
	if got["b"].Image != "" || len(got["b"].Argv) != 1 {
		t.Errorf("a process: %+v", got["b"])
	}
	if got["named"].Image != "redis:7" {
		t.Errorf("%+v", got["named"])
	}
	if text := got["file"].Version; text != "error: Dockerfile: it broke\nstep one" {
		t.Errorf("%q", text)
	}
}

// static fails for a program that needs a loader.
func static(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s needs a loader", path)
		}
	}
}
