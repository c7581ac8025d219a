//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/need"
	"github.com/ebef7166/mesh/runtime"
)

// loneSource is a program that says as whom it runs and writes what it is told to.
// It needs few packages: another user has a build cache of its own, and a cold one.
const loneSource = `package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	fmt.Println("runs as", os.Getuid(), os.Getgid())
	if at, ok := strings.CutPrefix(os.Getenv("DATABASE_URL"), "sqlite://"); ok {
		fmt.Println("database", os.WriteFile(at, []byte("kept"), 0o600))
	}
	if _, err := os.Stat("/data"); err == nil {
		fmt.Println("volume", os.WriteFile("/data/file", []byte("kept"), 0o600))
	}
	ln, err := net.Listen("tcp", os.Getenv("HOST")+":"+os.Getenv("PORT"))
	for err == nil {
		var conn net.Conn
		if conn, err = ln.Accept(); err == nil {
			conn.Close()
		}
	}
}
`

const another = 54321 // a user and a group that nobody has

// lone is the manifest of a service of the program above.
const lone = "version: 1\nprotocol: tcp\ndatabase: {engine: sqlite}\nvolumes: ['data:/data']\n"

// newOthers is a workspace that belongs to another user, who may use the engine.
func newOthers(t *testing.T) *harbour {
	t.Helper()
	if os.Getuid() != 0 {
		need.Missing(t, "root, to become another user")
	}
	h := newHarbour(t)
	engine, err := os.Stat("/var/run/docker.sock")
	if err != nil {
		need.Missing(t, "the engine's usual socket")
	}
	home := t.TempDir()
	h.write("services/golang/mesh.service.yaml", lone+"name: golang\ngo: .\ndriver: container\n")
	h.write("services/golang/go.mod", "module example.test/golang\ngo 1.26\n")
	h.write("services/golang/main.go", loneSource)
	h.write("go.work", "go 1.26\nuse ./services/golang\n")
	h.write("services/named/mesh.service.yaml", lone+"name: named\nimage: mesh-test/lone:1\n")
	h.write("services/built/mesh.service.yaml", lone+"name: built\ndockerfile: Dockerfile\n")
	h.write("services/built/Dockerfile", "FROM mesh-test/lone:1\nENV BUILT=yes\n")
	h.lone()
	for _, dir := range []string{bin, filepath.Dir(h.dir), filepath.Dir(home), filepath.Dir(filepath.Dir(h.dir))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.give(home, another)
	h.give(h.dir, another)
	group := engine.Sys().(*syscall.Stat_t).Gid
	h.as = func(cmd *exec.Cmd) {
		cmd.Dir = h.dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GOTOOLCHAIN=local", "GOPROXY=off"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: another, Gid: another, Groups: []uint32{group}}}
	}
	return h
}

// lone loads an image of that program.
func (h *harbour) lone() {
	h.t.Helper()
	dir := h.t.TempDir()
	for file, text := range map[string]string{"go.mod": "module example.test/lone\ngo 1.26\n", "main.go": loneSource,
		"Dockerfile": "FROM scratch\nCOPY lone /lone\nENTRYPOINT [\"/lone\"]\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", "lone", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	h.docker("build", "-q", "-t", "mesh-test/lone:1", dir)
	h.t.Cleanup(func() {
		_, _ = h.mesh("down", "--volumes") // before the image that it uses goes
		_ = exec.Command("docker", "rmi", "-f", "mesh-test/lone:1").Run()
	})
}

// give gives a folder with all in it to a user.
func (h *harbour) give(dir string, uid int) {
	h.t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestContainersOfAnotherUser has mesh run as somebody who is not root: what
// containers write belongs to that user, and nothing outlives mesh's death.
func TestContainersOfAnotherUser(t *testing.T) {
	h := newOthers(t)
	h.up()
	for _, service := range []string{"golang", "named", "built"} {
		h.saysEventually(service, "runs as 54321 54321", "database <nil>", "volume <nil>")
		file, err := os.Stat(filepath.Join(h.dir, ".mesh", "data", service, service+".db"))
		if err != nil || file.Sys().(*syscall.Stat_t).Uid != another {
			t.Errorf("the database of %s: %v %+v", service, err, file)
		}
	}

	t.Run("the daemon is killed", func(t *testing.T) {
		if err := syscall.Kill(h.daemon(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "nothing is left", func() bool { return h.left() == "" })
	})
	t.Run("killed with its guard, then up", func(t *testing.T) {
		h.up()
		before := h.instances("named")[0].ContainerID
		h.killBoth()
		h.up()
		if now := h.docker("ps", "-aq", "--no-trunc", "--filter", h.label()); strings.Contains(now, before) || len(strings.Fields(now)) != 3 {
			t.Errorf("there are %q, and before there was %s", now, before)
		}
	})
	t.Run("a folder of somebody else", func(t *testing.T) {
		h.do("stop", "named")
		h.give(filepath.Join(h.dir, ".mesh", "data", "named"), 1234)
		if out, err := h.run("mesh", "-C", h.dir, "start", "named"); err == nil || !strings.Contains(out, "belongs to user 1234, and the container runs as "+strconv.Itoa(another)) {
			t.Errorf("%v\n%s", err, out)
		}
		h.give(filepath.Join(h.dir, ".mesh", "data", "named"), another)
		h.do("restart", "named")
		if i := h.instances("named"); len(i) != 1 || i[0].State != runtime.Healthy {
			t.Errorf("%+v", i)
		}
	})
	h.do("down", "--volumes")
	if left := h.left() + h.docker("volume", "ls", "-q", "--filter", h.label()); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// TestAUserWhoMayNotUseTheEngine is told so.
func TestAUserWhoMayNotUseTheEngine(t *testing.T) {
	h := newOthers(t)
	member := h.as
	h.as = func(cmd *exec.Cmd) { member(cmd); cmd.SysProcAttr.Credential.Groups = nil }
	if out, err := h.run("mesh", "-C", h.dir, "up", "-d", "--gateway", "127.0.0.1:0"); err == nil || !strings.Contains(out, "this user may not use it; add the user to the group docker") {
		t.Errorf("%v\n%s", err, out)
	}
}

// saysEventually waits for lines in the log of a service.
func (h *harbour) saysEventually(service string, lines ...string) {
	h.t.Helper()
	for _, line := range lines {
		eventually(h.t, 10*time.Second, service+" says "+line, func() bool {
			said, _ := h.mesh("logs", service, "--no-prefix")
			return strings.Contains(said, line)
		})
	}
}
