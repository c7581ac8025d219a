package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ebef7166/mesh/internal/testcert"
)

// bin is the folder of the real programs that the tests run: mesh, as a user
// builds it, and testservice, which misbehaves on request.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mesh-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "./", "../../internal/testservice")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestScripts runs the scripts in testdata: a user's commands with what they
// print, their exit codes and what they leave behind.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:         setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until, "get": get, "killdaemon": killDaemon, "gone": gone, "certificate": certificate,
		},
	})
}

func setup(env *testscript.Env) error {
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("GATEWAY", "127.0.0.1:0")
	env.Setenv("STALL", cmp.Or(os.Getenv("MESH_TEST_STALL"), "1")) // seconds
	env.Setenv("MESH_GATEWAY", "127.0.0.1:0")
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB", "GOFLAGS", "GOTOOLCHAIN"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			return err
		}
		env.Setenv(name, strings.TrimSpace(string(out)))
	}
	// Nothing that a script starts outlives it, however it ends.
	env.Defer(func() {
		_ = filepath.WalkDir(env.WorkDir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "mesh.yaml" {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				cmd := exec.CommandContext(ctx, filepath.Join(bin, "mesh"), "-C", filepath.Dir(path), "down", "-q")
				cmd.Env = env.Vars
				_ = cmd.Run()
			}
			return nil
		})
	})
	return nil
}

// exits CODE COMMAND…: the command ends with that code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// until TEXT COMMAND…: runs the command until its output contains TEXT.
func until(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(60 * time.Second)
	for {
		out := output(ts, args[1:])
		if strings.Contains(out, args[0]) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never %q in the output of %s; the last:\n%s", args[0], strings.Join(args[1:], " "), out)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// output runs a command; fetch PATH is a request to the gateway.
func output(ts *testscript.TestScript, args []string) string {
	if args[0] == "fetch" {
		resp, err := http.Get(status(ts).Gateway.URL + args[1])
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	cmd := exec.Command(look(ts, args[0]), args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	out, _ := cmd.CombinedOutput()
	return string(out)
}

func look(ts *testscript.TestScript, name string) string {
	if path := filepath.Join(bin, name); exists(path) {
		return path
	}
	path, err := exec.LookPath(name)
	ts.Check(err)
	return path
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "STALL", "MESH_GATEWAY", "XDG_CONFIG_HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB", "GOFLAGS", "GOTOOLCHAIN"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// status asks the daemon of the workspace that the script is in.
func status(ts *testscript.TestScript) (s struct {
	PID     int
	Gateway struct{ URL string }
}) {
	cmd := exec.Command(filepath.Join(bin, "mesh"), "status", "-o", "json")
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	out, err := cmd.Output()
	ts.Check(err)
	ts.Check(json.Unmarshal(out, &s))
	return s
}

// get STATUS PATH TEXT: a request to the gateway answers so.
func get(ts *testscript.TestScript, _ bool, args []string) {
	url := status(ts).Gateway.URL + args[1]
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] || len(args) > 2 && !strings.Contains(string(body), args[2]) {
		ts.Fatalf("%s: %s\n%s", url, resp.Status, body)
	}
}

// certificate CERT KEY: makes a pair for loopback.
func certificate(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(testcert.Write(ts.MkAbs(args[0]), ts.MkAbs(args[1]), testcert.Options{}))
}

// killdaemon [guard|both]: kill -9 of it, of its guard, or of both at once.
func killDaemon(ts *testscript.TestScript, _ bool, args []string) {
	daemon := status(ts).PID
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", daemon))
	ts.Check(err)
	guard, err := strconv.Atoi(strings.Fields(string(data))[3]) // its parent (proc(5)); mesh's name has no space
	ts.Check(err)
	switch {
	case len(args) == 0:
		ts.Check(syscall.Kill(daemon, syscall.SIGKILL))
	case args[0] == "guard":
		ts.Check(syscall.Kill(guard, syscall.SIGKILL))
	case args[0] == "both":
		ts.Check(syscall.Kill(guard, syscall.SIGSTOP)) // or it would see to what the daemon leaves
		ts.Check(syscall.Kill(daemon, syscall.SIGKILL))
		ts.Check(syscall.Kill(guard, syscall.SIGKILL))
	default:
		ts.Fatalf("usage: killdaemon [guard|both]")
	}
}

// gone TEXT: no process has TEXT in its command line, soon.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	deadline := time.Now().Add(2 * time.Second) // what the contract promises
	for {
		left := commandLines(args[0])
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still there: %v", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func commandLines(text string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		line := strings.ReplaceAll(string(data), "\x00", " ")
		if err == nil && strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}
