//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebef7166/mesh/runtime"
)

func (h *harbour) daemon() int {
	h.t.Helper()
	var s struct{ PID int }
	h.json(&s, "status")
	return s.PID
}

// killBoth ends the daemon and its guard with neither getting to do anything.
func (h *harbour) killBoth() {
	h.t.Helper()
	daemon := h.daemon()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(daemon) + "/stat")
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	guard, err := strconv.Atoi(strings.Fields(rest)[1])
	if err != nil {
		h.t.Fatal(err)
	}
	for _, s := range []struct {
		pid    int
		signal syscall.Signal
	}{{daemon, syscall.SIGSTOP}, {guard, syscall.SIGKILL}, {daemon, syscall.SIGKILL}} {
		if err := syscall.Kill(s.pid, s.signal); err != nil {
			h.t.Fatal(err)
		}
	}
	eventually(h.t, 5*time.Second, "the daemon is gone", func() bool {
		_, err := h.mesh("status")
		return err != nil
	})
}

func TestContainersEndWithMesh(t *testing.T) {
	h := newHarbour(t, "web", "go: .\ndriver: container\n", "worker", "go: .\ndriver: container\nkind: worker\nenv: {HOST: 127.0.0.1, PORT: '9'}\n")
	h.edit("services/worker/mesh.service.yaml", "routes: [{prefix: /worker/, auth: none, strip_prefix: true}]\n", "")
	h.up()

	t.Run("the daemon is killed", func(t *testing.T) {
		if err := syscall.Kill(h.daemon(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "nothing is left", func() bool { return h.left() == "" }) // what the contract promises
	})
	t.Run("killed with its guard, then down", func(t *testing.T) {
		h.up()
		h.killBoth()
		if h.left() == "" {
			t.Fatal("there was nobody to remove them, and they are gone")
		}
		h.do("down")
		if left := h.left(); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	t.Run("killed with its guard, then up", func(t *testing.T) {
		h.up()
		before := h.instances("web")[0].ContainerID
		h.killBoth()
		h.up()
		if ids := h.docker("ps", "-aq", "--no-trunc", "--filter", h.label()); strings.Contains(ids, before) || len(strings.Fields(ids)) != 2 {
			t.Errorf("there are %q, and before there was %s", ids, before)
		}
	})
	t.Run("smoke leaves this copy alone, and nothing of its own", func(t *testing.T) {
		before, images := h.left(), h.images()
		h.do("smoke")
		if after := h.left(); after != before {
			t.Errorf("before %q, after %q", before, after)
		}
		if after := h.images(); after != images {
			t.Errorf("images before %q, after %q", images, after)
		}
	})
}

func TestWithoutAnEngine(t *testing.T) {
	h := newHarbour(t, "web", "go: .\ndriver: container\n", "plain", "go: .\n")
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "nothing.sock"))
	out, err := h.run("mesh", "-C", h.dir, "up", "-d", "--gateway", "127.0.0.1:0")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, "no Docker engine answers at unix://") || !strings.Contains(out, "DOCKER_HOST") {
		t.Errorf("%v\n%s", err, out)
	}
	// What needs none runs.
	h.do("up", "-d", "--gateway", "127.0.0.1:0", "plain")
	h.do("down")
}

// door is a way to the engine that a test can close.
type door struct {
	t      *testing.T
	path   string
	engine string
	mu     sync.Mutex
	ln     net.Listener
	open   map[net.Conn]bool
	all    sync.WaitGroup
}

func newDoor(t *testing.T) *door {
	d := &door{t: t, path: filepath.Join(t.TempDir(), "engine.sock"), engine: "/var/run/docker.sock"}
	if host := os.Getenv("DOCKER_HOST"); strings.HasPrefix(host, "unix://") {
		d.engine = strings.TrimPrefix(host, "unix://")
	}
	d.unlock()
	t.Cleanup(func() { d.lock(); d.all.Wait() })
	return d
}

func (d *door) unlock() {
	d.t.Helper()
	ln, err := net.Listen("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ln, d.open = ln, map[net.Conn]bool{}
	d.all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			d.all.Go(func() { d.pass(conn) })
		}
	})
}

func (d *door) pass(client net.Conn) {
	engine, err := net.Dial("unix", d.engine)
	if err != nil {
		client.Close()
		return
	}
	d.mu.Lock()
	d.open[client], d.open[engine] = true, true
	d.mu.Unlock()
	d.all.Go(func() { _, _ = io.Copy(engine, client); _ = engine.(*net.UnixConn).CloseWrite() })
	_, _ = io.Copy(client, engine)
	client.Close()
	engine.Close()
}

func (d *door) lock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ln.Close()
	for conn := range d.open {
		conn.Close()
	}
}

func TestAnEngineThatIsAwayForAWhile(t *testing.T) {
	h := newHarbour(t, "web", "go: .\ndriver: container\nhealth: {http: /readyz}\n")
	d := newDoor(t)
	t.Setenv("DOCKER_HOST", "unix://"+d.path)
	h.up()
	d.lock()
	h.do("scale", "web=2")
	eventually(t, 20*time.Second, "the second instance says why it is not there", func() bool {
		i := h.instances("web")
		return len(i) == 2 && i[0].State == runtime.Healthy && i[1].State == runtime.Backoff && strings.Contains(i[1].Reason, "no Docker engine answers")
	})
	h.want(h.get("web", "/"), "1 web-1") // what runs goes on
	logs, _ := h.mesh("logs", "-n", "50")
	h.want(logs, "containers are out of reach")
	h.edit("services/web/main.go", `version = "1"`, `version = "2"`)
	d.unlock()
	eventually(t, 60*time.Second, "two of the new version", func() bool {
		i := h.instances("web")
		return len(i) == 2 && i[0].State == runtime.Healthy && i[1].State == runtime.Healthy && i[0].Version == i[1].Version &&
			strings.HasPrefix(h.get("web", "/"), "2 ")
	})
	d.lock()
	if out, err := h.run("mesh", "-C", h.dir, "down"); err == nil || !strings.Contains(out, "containers may be left: no Docker engine answers") {
		t.Errorf("%v\n%s", err, out)
	}
	d.unlock()
	h.do("down")
	if left := h.left(); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// TestAnEngineElsewhere has an engine whose bridge is not on this machine, as
// Docker Desktop's is.
func TestAnEngineElsewhere(t *testing.T) {
	h := newHarbour(t, "web", "go: .\ndriver: container\n")
	socket := filepath.Join(t.TempDir(), "engine.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	removed := make(chan string, 10)
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Api-Version", "1.44")
			w.Header().Set("Content-Type", "application/json")
			_, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v"), "/")
			network := `{"Name": "far", "Id": "1", "Labels": {}, "IPAM": {"Config": [{"Subnet": "198.51.100.0/24", "Gateway": "198.51.100.1"}]}}`
			switch {
			case path == "version":
				_, _ = io.WriteString(w, `{"Os": "linux", "Arch": "amd64", "ApiVersion": "1.44"}`)
			case path == "networks" || path == "containers/json":
				_, _ = io.WriteString(w, map[bool]string{true: "[" + network + "]", false: "[]"}[path == "networks" && len(removed) == 0])
			case r.Method == http.MethodDelete:
				removed <- path
				w.WriteHeader(http.StatusNoContent)
			case strings.HasPrefix(path, "networks/"):
				_, _ = io.WriteString(w, network)
			}
		}))
	}()
	t.Cleanup(func() { ln.Close() })
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	out, err := h.run("mesh", "-C", h.dir, "up", "-d", "--gateway", "127.0.0.1:0")
	if err == nil || !strings.Contains(out, "another machine or namespace") || len(removed) == 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAnEngineAwayEndsNobody: a command that cannot be asked says nothing about its
// container, and what is stopped meanwhile is removed when the engine is back.
func TestAnEngineAwayEndsNobody(t *testing.T) {
	alive := "go: .\ndriver: container\nreload: replace\nliveness: {command: [/usr/local/bin/%s, check], interval: 200ms}\n"
	h := newHarbour(t, "web", fmt.Sprintf(alive, "web"), "other", fmt.Sprintf(alive, "other"))
	d := newDoor(t)
	t.Setenv("DOCKER_HOST", "unix://"+d.path)
	h.up()
	before := h.instances("web")[0].ContainerID
	d.lock()
	h.do("stop", "other")
	time.Sleep(2 * time.Second) // ten times the interval of the probe, whose failures are what must not be
	d.unlock()
	eventually(t, 30*time.Second, "what was stopped is removed", func() bool { return h.containersOf("other") == 0 })
	if i := h.instances("web"); len(i) != 1 || i[0].ContainerID != before || i[0].Restarts != 0 || i[0].State != runtime.Healthy {
		t.Errorf("after the engine was away: %+v", i)
	}
	d.lock()
	h.do("stop", "web")
	d.unlock()
	h.do("start", "web")
	h.do("wait", "web", "--timeout", "60s")
	if n := h.containersOf("web"); n != 1 {
		t.Errorf("%d containers of one instance", n)
	}
}

func (h *harbour) containersOf(service string) int {
	h.t.Helper()
	return len(strings.Fields(h.docker("ps", "-aq", "--filter", h.label(), "--filter", "label=dev.mesh.service="+service)))
}
