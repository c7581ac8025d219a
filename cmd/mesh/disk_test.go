package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ebef7166/mesh/internal/need"
)

// small is a workspace whose state folder is a disk of 40 MB of its own, in a
// mount namespace (mount_namespaces(7)).
type small struct {
	t    *testing.T
	dir  string
	hold *exec.Cmd // keeps the namespace
}

func newSmall(t *testing.T, manifest string) *small {
	unshare := need.Program(t, "unshare")
	need.Program(t, "nsenter")
	s := &small{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "mesh.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	s.hold = exec.Command(unshare, "-m", "sh", "-c", "mkdir .mesh && mount -t tmpfs -o size=40m,mode=700 none .mesh && echo mounted && exec cat")
	s.hold.Dir = s.dir
	in, err := s.hold.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.hold.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = s.hold.Wait() })
	said := make([]byte, 7)
	if _, err := out.Read(said); err != nil || string(said) != "mounted" {
		need.Missing(t, "the right to mount a small disk")
	}
	t.Cleanup(func() { s.mesh("down") })
	return s
}

// mesh runs a command in the namespace and returns all that it prints.
func (s *small) mesh(args ...string) string {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(s.hold.Process.Pid), "-m", filepath.Join(bin, "mesh"), "-C", s.dir}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// filler is a file on the small disk, seen from outside.
func (s *small) filler() string {
	return filepath.Join("/proc", strconv.Itoa(s.hold.Process.Pid), "root", s.dir, ".mesh", "filler")
}

func (s *small) fill() {
	s.t.Helper()
	f, err := os.Create(s.filler())
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		s.t.Fatal(err)
	}
}

func (s *small) stream() jetstream.JetStream {
	s.t.Helper()
	var env map[string]string
	if err := json.Unmarshal([]byte(s.mesh("env", "a", "--reveal", "--format", "json")), &env); err != nil {
		s.t.Fatal(err)
	}
	nc, err := nats.Connect(env["NATS_URL"], nats.CustomInboxPrefix("_INBOX.a"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	return js
}

// putKey writes a key into the registry.
func (s *small) putKey(key, value string) {
	s.t.Helper()
	var status struct{ Registry struct{ URL string } }
	if err := json.Unmarshal([]byte(s.mesh("status", "-q", "-o", "json")), &status); err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPut, status.Registry.URL+"/v1/kv/"+key, strings.NewReader(value))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		s.t.Errorf("put a key: %s", res.Status)
	}
}

// TestAFullDisk fills the disk under a running workspace: services run on, no
// event is acknowledged that is not kept, every command says what is the matter,
// and once there is room all goes on by itself.
func TestAFullDisk(t *testing.T) {
	s := newSmall(t, `version: 1
name: small
gateway: {auth: none, address: 127.0.0.1:0}
services:
  a: {dir: ., run: testservice, publishes: [a.done]}
  noisy: {dir: ., kind: worker, run: [sh, -c, "while :; do echo line; sleep 0.05; done"]}
`)
	if out := s.mesh("up", "-d"); !strings.Contains(out, "healthy") {
		t.Fatal(out)
	}
	js := s.stream()
	publish := func() (n uint64, err error) { // events that are kept
		ack, err := js.Publish(t.Context(), "a.done", make([]byte, 64<<10), jetstream.WithRetryAttempts(0))
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	kept, err := publish()
	if err != nil {
		t.Fatal(err)
	}
	s.fill()
	eventually(t, 30*time.Second, "a word about the disk", func() bool { return strings.Contains(s.mesh("ps"), "no space left on device") })
	s.putKey("k", "v")
	eventually(t, 30*time.Second, "a word about the registry's keys", func() bool { return strings.Contains(s.mesh("status"), "the registry's keys are not kept on disk") })
	for range 200 { // the broker may have room in a block that it has begun
		n, err := publish()
		if err != nil {
			break
		}
		kept = n
	}
	if kept > 200 {
		t.Errorf("%d events of 64 KiB were acknowledged on a full disk", kept)
	}
	if out := s.mesh("restart", "a"); !strings.Contains(out, "healthy") {
		t.Errorf("a restart needs no disk: %s", out)
	}

	if err := os.Remove(s.filler()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "an end of the trouble", func() bool {
		n, err := publish()
		if err != nil {
			return false
		}
		if kept++; n != kept {
			t.Errorf("%d events were acknowledged, %d are there", kept, n)
		}
		return !strings.Contains(s.mesh("ps"), "no space left on device")
	})
	s.mesh("down")
	if out := s.mesh("logs", "noisy", "--grep", "were not kept"); !strings.Contains(out, "no space left on device") {
		t.Errorf("the log does not say what it lacks: %s", out)
	}
	if out := s.mesh("up", "-d"); !strings.Contains(out, "healthy") {
		t.Fatal(out)
	}
	js = s.stream()
	if n, err := publish(); err != nil || n != kept+1 {
		t.Errorf("%d events were acknowledged, %d are there after a restart: %v", kept+1, n, err)
	}
}
