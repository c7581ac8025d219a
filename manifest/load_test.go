package manifest

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// unpack writes the files of an archive below a fresh folder.
func unpack(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range a.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestLoadProblems holds every message: each archive's file "want" is what Load
// says of the others.
func TestLoadProblems(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
			_, err = Load(unpack(t, a))
			got := "no problem\n"
			if err != nil {
				got = err.Error() + "\n"
			}
			if *update {
				a.Files[i].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(a.Files[i].Data); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

const shop = `
-- mesh.yaml --
version: 1
name: shop
gateway: {auth: optional}
defaults:
  stop: {grace: 3s}
  env: {LEVEL: info, REGION: eu}
identity:
  users:
    - {name: alice, email: alice@example.test, roles: [customer]}
-- mesh.local.yaml --
gateway: {address: "127.0.0.1:9090"}
-- services/profile/mesh.service.yaml --
version: 1
name: profile
go: ./cmd/profile
publishes: [profile.deleted]
env: {LEVEL: debug}
-- services/profile/go.mod --
module profile
-- services/profile/cmd/profile/main.go --
package main
-- services/cart/mesh.service.yaml --
version: 1
name: cart
run: ["./cart", "--listen", "${HOST}:${PORT}"]
build: make
health: {http: /readyz, interval: 500ms}
calls: [profile]
consumes: [profile.deleted]
depends_on: {profile: service_started, seed: {condition: service_completed_successfully}}
routes:
  - {prefix: /cart/, methods: [POST], roles: [customer], auth: required, timeout: 5s}
  - {path: /open}
-- services/seed/mesh.service.yaml --
version: 1
name: seed
kind: task
run: echo "done" | cat
profiles: [seed]
`

// loaded is the workspace in an archive, which has no mistakes.
func loaded(t *testing.T, archive string) *Workspace {
	t.Helper()
	ws, err := Load(unpack(t, txtar.Parse([]byte(archive))))
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func TestLoad(t *testing.T) {
	ws := loaded(t, shop)
	if got := ws.Names(); !slices.Equal(got, []string{"cart", "profile", "seed"}) {
		t.Fatalf("services %v", got)
	}
	cart, _ := ws.Service("cart")
	if cart.DependsOn["profile"] != Started || cart.DependsOn["seed"] != Completed {
		t.Errorf("depends_on %v", cart.DependsOn)
	}
	if cart.Stop.Grace.Or(0).String() != "3s" || cart.Env["REGION"] != "eu" {
		t.Errorf("defaults not applied: %+v %v", cart.Stop, cart.Env)
	}
	profile, _ := ws.Service("profile")
	if profile.Env["LEVEL"] != "debug" {
		t.Errorf("a default overrode the service: %v", profile.Env)
	}
	if cart.Routes[1].Auth != AuthOptional || !strings.HasPrefix(cart.Routes[1].Position, "services/cart/mesh.service.yaml:11:") {
		t.Errorf("route %+v", cart.Routes[1])
	}
	if ws.Gateway.Address != "127.0.0.1:9090" || ws.Gateway.Auth != AuthOptional {
		t.Errorf("mesh.local.yaml not merged: %+v", ws.Gateway)
	}
	seed, _ := ws.Service("seed")
	if seed.Run.Shell == "" || cart.Build.Args[0] != "make" {
		t.Errorf("commands: %+v %+v", seed.Run, cart.Build)
	}
}

// TestLocal holds that mesh.local.yaml is laid over mesh.yaml key by key: of a
// service only what it names is another's.
func TestLocal(t *testing.T) {
	ws := loaded(t, `
-- mesh.yaml --
version: 1
name: x
defaults: {env: {A: "1"}, stop: {grace: 3s}}
services:
  a: {run: a, env: {B: "1", C: "1"}, routes: [{prefix: /a}]}
  b: {run: b}
-- mesh.local.yaml --
defaults: {env: {D: "2"}}
services:
  a: {env: {B: "2"}, routes: [{prefix: /local}]}
  c: {run: c}
`)
	if got := ws.Names(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Fatalf("services %v", got)
	}
	a, _ := ws.Service("a")
	if want := (map[string]string{"A": "1", "B": "2", "C": "1", "D": "2"}); !maps.Equal(a.Env, want) {
		t.Errorf("env %v, want %v", a.Env, want)
	}
	if a.Run.Empty() || a.Stop.Grace.Or(0).String() != "3s" {
		t.Errorf("something was lost: %+v", a)
	}
	if len(a.Routes) != 1 || a.Routes[0].Prefix != "/local" || !strings.HasPrefix(a.Routes[0].Position, "mesh.local.yaml:3:") {
		t.Errorf("routes %+v", a.Routes)
	}
}

// A service whose manifest stands in its own folder is laid over in the same way, and
// the others stay.
func TestLocalOverFolders(t *testing.T) {
	ws := loaded(t, `
-- mesh.yaml --
version: 1
name: x
-- mesh.local.yaml --
services:
  a: {replicas: 2, env: {B: "2"}, routes: [{prefix: /local}]}
  c: {run: c}
-- services/a/mesh.service.yaml --
version: 1
name: a
run: a
env: {A: "1", B: "1"}
-- services/b/mesh.service.yaml --
version: 1
name: b
run: b
`)
	if got := ws.Names(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Fatalf("services %v", got)
	}
	a, _ := ws.Service("a")
	if *a.Replicas != 2 || a.Run.Empty() || !maps.Equal(a.Env, map[string]string{"A": "1", "B": "2"}) || filepath.Base(a.Dir) != "a" {
		t.Errorf("%+v", a)
	}
	if len(a.Routes) != 1 || !strings.HasPrefix(a.Routes[0].Position, "mesh.local.yaml:2:") {
		t.Errorf("routes %+v", a.Routes)
	}
}

func TestWarnings(t *testing.T) {
	ws := loaded(t, "-- mesh.yaml --\nversion: 1\nname: x\nalerts: [{}]\nservices:\n  a: {run: a, resources: {cpus: 1}}\n")
	var got []string
	for _, w := range slices.Concat(ws.Warnings, ws.ForContainers()) {
		got = append(got, w.String())
	}
	want := "mesh.yaml:3:1: alerts has no effect in this version of mesh|mesh.yaml:5:15: resources is for containers: it has no effect while the service runs as a process"
	if strings.Join(got, "|") != want {
		t.Errorf("got %s", strings.Join(got, "|"))
	}
	if ws := loaded(t, shop); len(ws.Warnings) > 0 {
		t.Errorf("warned of %v", ws.Warnings)
	}
	for text, want := range map[string]string{
		"services: [nope/*, a]\n": "[mesh.yaml:3:12: no folder that matches nope/* has a mesh.service.yaml]",
		"services: [\"*\"]\n":     "[]",
		"":                        "[]", // a new workspace
		"services: {web: {run: a, dir: a}}\nidentity: {users: [{name: web}, {name: spa}], clients: [{id: web, redirect_uris: [\"http://x/\"]}, {id: spa}]}\n": "[mesh.yaml:4:27: web is a client, too: a token of its own has the subject that this user's have; give the user another name mesh.yaml:4:40: spa is a client, too: a token of its own has the subject that this user's have; give the user another name mesh.yaml:4:62: web is the client of the service web, which has a secret: a page in a browser needs a client of another id]",
		"defaults: {replicas: 2}\nservices: {a: {run: a}, b: {url: \"http://127.0.0.1:3000\", ports: {x: {}}, health: {http: /}}}\n":                          "[mesh.yaml:4:59: ports has no effect beside url: the service is not run here]",
		"services: [a]\ngateway: {routes: [{prefix: /, static: a, spa: true}, {prefix: /b, static: b}]}\n":                                                    "[mesh.yaml:4:40: a has no index.html yet: the gateway answers pages with 503 until it has mesh.yaml:4:76: b is not there yet: the gateway answers 503 until it is]",
	} {
		ws, err := Load(unpack(t, txtar.Parse([]byte("-- mesh.yaml --\nversion: 1\nname: x\n"+text+"-- a/mesh.service.yaml --\nversion: 1\nname: a\nrun: a\n"))))
		if err != nil || fmt.Sprint(ws.Warnings) != want {
			t.Errorf("%q: %v %v", text, ws.Warnings, err)
		}
	}
}

func TestSelect(t *testing.T) {
	ws := loaded(t, shop)
	for _, tt := range []struct {
		sel  Selection
		want string
	}{
		{Selection{}, "cart profile seed"}, // cart depends on seed, whatever its profile
		{Selection{Names: []string{"profile"}}, "profile"},
		{Selection{Names: []string{"cart"}}, "cart profile seed"},
		{Selection{Names: []string{"cart"}, NoDeps: true}, "cart"},
		{Selection{Except: []string{"cart"}}, "profile seed"},
	} {
		services, err := ws.Select(tt.sel)
		var names []string
		for _, s := range services {
			names = append(names, s.Name)
		}
		if err != nil || strings.Join(names, " ") != tt.want {
			t.Errorf("%+v: got %v %v, want %s", tt.sel, names, err, tt.want)
		}
	}
	var unknown *UnknownService
	if _, err := ws.Select(Selection{Names: []string{"crat"}}); !errors.As(err, &unknown) || !strings.Contains(err.Error(), `did you mean "cart"`) {
		t.Errorf("unknown service: %v", err)
	}
}

func TestManifestThatCannotBeReadIsTold(t *testing.T) {
	dir := unpack(t, txtar.Parse([]byte(shop)))
	path := filepath.Join(dir, "services", "profile", ServiceFile)
	if err := errors.Join(os.Remove(path), os.Symlink(ServiceFile, path)); err != nil { // a link to itself
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "services/profile/mesh.service.yaml: cannot be read") {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	dir := unpack(t, txtar.Parse([]byte(shop)))
	got, err := Find(filepath.Join(dir, "services", "cart"))
	if err != nil || got != dir {
		t.Errorf("got %s %v, want %s", got, err, dir)
	}
	if _, err := Find(t.TempDir()); !errors.Is(err, ErrNoWorkspace) {
		t.Errorf("got %v", err)
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"HOST": "127.0.0.1", "PORT": "80", "EMPTY": ""}
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	for text, want := range map[string]string{
		"${HOST}:${PORT}":    "127.0.0.1:80",
		"${EMPTY:-x}${NO:-}": "x",
		"$$5 $HOME":          "$5 $HOME",
		"${NO}":              "error",
		"${A B}":             "error",
		"${HOST":             "error",
	} {
		got, err := Expand(text, lookup)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// TestMerge: a mapping's own keys win over those that it merges, wherever they stand.
func TestMerge(t *testing.T) {
	for _, own := range []string{"{<<: *a, run: two}", "{run: two, <<: *a}", "{<<: *a, run: two, dir: .}"} {
		dir := t.TempDir()
		text := "version: 1\nname: w\nservices:\n  a: &a {dir: ., kind: worker, run: one}\n  b: " + own + "\n"
		if err := os.WriteFile(filepath.Join(dir, WorkspaceFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ws, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := ws.Service("a")
		if b, _ := ws.Service("b"); !slices.Equal(a.Run.Args, []string{"one"}) || !slices.Equal(b.Run.Args, []string{"two"}) || b.Kind != KindWorker {
			t.Errorf("%s: %+v, %+v", own, a.Run, b.Run)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range txtar.Parse([]byte(shop)).Files {
		f.Add(file.Data)
	}
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("services:\n  ? [a]\n  : {}\n"))
	f.Add([]byte("services: {a: {rnu: x, env: {A: [1]}}, b: 1, <<: {c: {kind: 1}}}\ngateway: {hots: [1]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := parseSource("mesh.service.yaml", data)
		if err != nil {
			return
		}
		src.decode(&Service{})
		src.decode(&Document{})
		(&loader{source: src, faulty: map[string]bool{}}).doubt()
	})
}

func BenchmarkLoad(b *testing.B) {
	dir := b.TempDir()
	for _, f := range txtar.Parse([]byte(shop)).Files {
		path := filepath.Join(dir, f.Name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		os.WriteFile(path, f.Data, 0o644)
	}
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}

// A route says of other origins what it says itself, and the gateway the rest.
func TestCORSOfARoute(t *testing.T) {
	ws := loaded(t, `-- mesh.yaml --
version: 1
name: shop
gateway: {cors: {origins: ["http://a.test"], expose: [Link]}}
services:
  a:
    dir: .
    run: x
    routes:
      - {prefix: /a/}
      - {prefix: /b/, cors: {origins: []}}
      - {prefix: /c/, cors: {origins: ["*"]}}
      - {prefix: /d/, cors: {expose: [X-Total]}}
`)
	a, _ := ws.Service("a")
	want := []CORS{
		{[]string{"http://a.test"}, []string{"Link"}}, {[]string{}, []string{"Link"}},
		{[]string{"*"}, []string{"Link"}}, {[]string{"http://a.test"}, []string{"X-Total"}},
	}
	for i, r := range a.Routes {
		if got := *r.CORS; !slices.Equal(got.Origins, want[i].Origins) || !slices.Equal(got.Expose, want[i].Expose) {
			t.Errorf("%s: %v, want %v", r.Prefix, got, want[i])
		}
	}
}

// TestAnAbsoluteEnvFile is not looked for in the service's folder.
func TestAnAbsoluteEnvFile(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "abs.env")
	text := "version: 1\nname: w\nservices: {a: {dir: ., run: x, env_file: '" + outside + "'}}\n"
	if err := os.WriteFile(filepath.Join(dir, WorkspaceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "no such file: "+outside) {
		t.Error(err)
	}
	if err := os.WriteFile(outside, []byte("Q=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Only these may be: an engine gets no more than the service's folder.
	other := t.TempDir()
	text = "version: 1\nname: w\nservices: {a: {dir: ., dockerfile: '" + outside + "'}}\n"
	if err := os.WriteFile(filepath.Join(other, WorkspaceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(other); err == nil || !strings.Contains(err.Error(), "no such file: "+outside) {
		t.Error(err)
	}
	if got, err := m.FileVariables(m.Services[0]); err != nil || got["Q"] != "1" {
		t.Errorf("%v, %v", got, err)
	}
}
