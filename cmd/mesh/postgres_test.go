//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ebef7166/mesh/internal/need"
	"github.com/ebef7166/mesh/runtime"
)

// startPostgres runs a PostgreSQL server for this test alone and returns its
// URL. It needs the programs of Debian's postgresql, but no server of Debian's.
func startPostgres(t *testing.T) string {
	t.Helper()
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(programs) == 0 {
		need.Missing(t, "PostgreSQL under /usr/lib/postgresql")
	}
	program := func(name string) string { return filepath.Join(programs[len(programs)-1], name) }
	dir, err := os.MkdirTemp("", "pg-*") // short, as it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := unprivileged(t, dir)

	data, passwords := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if err := os.WriteFile(passwords, []byte("secret\n"), 0o644); err != nil { // in a folder that is closed
		t.Fatal(err)
	}
	initdb := exec.Command(program("initdb"), "-D", data, "-U", "admin", "--pwfile", passwords,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	port := freePort(t)
	server := exec.Command(program("postgres"), "-D", data, "-p", port, "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB")
	server.SysProcAttr, server.Dir = as, dir
	var log strings.Builder
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt) // ends sessions and stops
		_ = server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	url := "postgres://admin:secret@127.0.0.1:" + port + "/postgres"
	eventually(t, 30*time.Second, "PostgreSQL answers", func() bool {
		conn, err := pgx.Connect(t.Context(), url)
		if err == nil {
			err = conn.Close(t.Context())
		}
		return err == nil
	})
	return url
}

// unprivileged gives dir to somebody who is not root, as whom PostgreSQL runs:
// it refuses root.
func unprivileged(t *testing.T, dir string) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

// TestPostgres has two generated services on a real server: what they say when
// the server cannot be used, and that neither sees the other's data.
func TestPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two services")
	}
	server := startPostgres(t)
	d := newSystem(t, "left --database postgres --publishes made", "right --database postgres --consumes left.made")
	plain, err := os.ReadFile(filepath.Join(d.dir, "mesh.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	use := func(url string) {
		if err := os.WriteFile(filepath.Join(d.dir, "mesh.yaml"), fmt.Appendf(plain, "databases: {postgres: {url: %q}}\n", url), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	d.explains("no server is named: set databases.postgres.url in mesh.yaml", "mesh restart left")
	use("postgres://admin:secret@127.0.0.1:1/postgres")
	d.explains("PostgreSQL at 127.0.0.1:1: connection refused; is the server running?", "mesh restart left")
	use(strings.Replace(server, "secret", "wrong", 1))
	d.explains(`password authentication failed for user "admin"; mend the user and the password in databases.postgres.url`)

	use(server)
	d.up()
	t.Run("data", d.keepsData)
	t.Run("apart", d.isApart)
	t.Run("server", func(t *testing.T) {
		pid := func() int {
			var list []runtime.Instance
			d.json(&list, "ps")
			i := slices.IndexFunc(list, func(i runtime.Instance) bool { return i.Service == "left" && i.State == runtime.Healthy })
			if i < 0 {
				t.Fatalf("%+v", list)
			}
			return list[i].PID
		}
		before := pid()
		use(server + "?application_name=moved")
		out, err := d.run("mesh", "-C", d.dir, "up", "-d") // or mesh has seen it by itself
		if err != nil || strings.Contains(out, "secret") {
			t.Errorf("another URL of the server: %v\n%s", err, out)
		}
		if pid() == before {
			t.Error("left runs on with the URL of before")
		}
		if url := d.env("left")["DATABASE_URL"]; !strings.Contains(url, "moved") {
			t.Errorf("left is told %s", url)
		}
	})
	t.Run("renamed", func(t *testing.T) {
		d.do("down")
		plain = bytes.Replace(plain, []byte("name: work"), []byte("name: another"), 1)
		use(server)
		d.up()
		conn, err := pgx.Connect(t.Context(), d.env("left")["DATABASE_URL"])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var items int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM items").Scan(&items); err != nil || items != 1 {
			t.Errorf("after the workspace has another name: %d items, %v", items, err)
		}
	})
	t.Run("left behind", func(t *testing.T) { d.leavesNothing(t, server) })
	t.Run("tests of a service", func(t *testing.T) {
		cmd := exec.Command("go", "test", "./...")
		cmd.Dir = filepath.Join(d.dir, "services/right")
		cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+server)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// explains holds that mesh why says these things of a service that cannot get
// its database, and nothing that is secret.
func (d *demo) explains(want ...string) {
	d.t.Helper()
	if out, err := d.run("mesh", "-C", d.dir, "up", "left", "-d", "--gateway", "127.0.0.1:0", "--wait-timeout", "2s"); err == nil {
		d.t.Fatalf("mesh up succeeded\n%s", out)
	}
	out, err := d.run("mesh", "-C", d.dir, "why", "left")
	if err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			d.t.Errorf("mesh why does not say %q:\n%s", text, out)
		}
	}
	if strings.Contains(out, "secret") || strings.Contains(out, "wrong") {
		d.t.Errorf("a password is shown:\n%s", out)
	}
	d.do("down")
}

// keepsData writes and reads through the gateway, also after a restart.
func (d *demo) keepsData(t *testing.T) {
	alice, bob := overHTTP{d, d.token("alice")}, overHTTP{d, d.token("admin")}
	made := must(t, alice, "left.v1.LeftService/CreateItem", map[string]any{"name": "tea"})
	d.do("restart", "left")
	d.do("wait", "left", "--timeout", "60s")
	id := map[string]any{"id": at(made, "item.id")}
	got := must(t, alice, "left.v1.LeftService/GetItem", id)
	if at(got, "item.name") != "tea" || at(got, "item.owner") != "alice" || at(got, "item.createdAt") != at(made, "item.createdAt") {
		t.Errorf("made %v, got %v", made, got)
	}
	refused(t, bob, "left.v1.LeftService/GetItem", id, "permission_denied")
}

// isApart holds that a service's login sees its own schema and no other's.
func (d *demo) isApart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.env("right")["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	eventually(t, 20*time.Second, "the event's effect in right's own schema", func() bool {
		var n int
		return conn.QueryRow(ctx, "SELECT count(*) FROM items").Scan(&n) == nil && n == 1
	})
	for _, statement := range []string{
		"SELECT * FROM work_left.items", "DELETE FROM work_left.items", "CREATE TABLE work_left.mine ()",
		"DROP SCHEMA work_left CASCADE", "SET ROLE work_left", "SET ROLE admin", "CREATE ROLE another", "CREATE TABLE public.mine ()",
	} {
		var refusal *pgconn.PgError
		if _, err := conn.Exec(ctx, statement); !errors.As(err, &refusal) || refusal.Code != "42501" { // insufficient privilege
			t.Errorf("%s: %v", statement, err)
		}
	}
}

// leavesNothing holds that a smoke run has schemas of its own and takes them
// with it, and that mesh down --volumes removes the workspace's.
func (d *demo) leavesNothing(t *testing.T, server string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	owned := func() string {
		var names string
		const query = "SELECT coalesce(string_agg(nspname, ' ' ORDER BY nspname), '') FROM pg_namespace JOIN pg_roles ON nspname = rolname"
		if err := conn.QueryRow(ctx, query).Scan(&names); err != nil {
			t.Fatal(err)
		}
		return names
	}
	seen := filepath.Join(t.TempDir(), "seen")
	out, err := d.run("mesh", "-C", d.dir, "smoke", "--", "sh", "-c", "mesh env left --reveal > "+seen)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if env, err := os.ReadFile(seen); err != nil || !strings.Contains(string(env), "another_left_smoke-") {
		t.Errorf("a smoke run uses the workspace's own login: %v\n%s", err, env)
	}
	if got := owned(); got != "work_left work_right" {
		t.Errorf("after mesh smoke there are %q", got)
	}
	d.do("down", "--volumes")
	if got := owned(); got != "" {
		t.Errorf("after mesh down --volumes there are %q", got)
	}
}
