//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/need"
	"github.com/ebef7166/mesh/runtime"
)

// peerSource is a service that does for a test what can be done only from where
// it runs.
const peerSource = `package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const version = "1"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "check" {
		if _, err := http.Get("http://127.0.0.1:" + os.Getenv("PORT") + "/readyz"); err != nil {
			fmt.Println("not there")
			os.Exit(3)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "say" {
		io.Copy(os.Stdout, os.Stdin)
		fmt.Fprintln(os.Stderr, "said by", os.Getenv("MESH_INSTANCE"))
		os.Exit(7)
	}
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.FormValue("name"))) })
	http.HandleFunc("/get", get)
	http.HandleFunc("/introspect", introspect)
	http.HandleFunc("/probe", func(w http.ResponseWriter, r *http.Request) {
		body := fmt.Sprintf("{\"Name\":\"probed\",\"Check\":{\"TCP\":%q,\"Interval\":\"1h\"}}", r.FormValue("at"))
		req, _ := http.NewRequest("PUT", "http://"+os.Getenv("CONSUL_HTTP_ADDR")+"/v1/agent/service/register", strings.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer resp.Body.Close()
		fmt.Fprint(w, resp.Status, " ")
		io.Copy(w, resp.Body)
	})
	http.HandleFunc("/find", find)
	http.HandleFunc("/nats", func(w http.ResponseWriter, r *http.Request) {
		u, _ := url.Parse(os.Getenv("NATS_URL"))
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer conn.Close()
		io.CopyN(w, conn, 5)
	})
	http.HandleFunc("/postgres", func(w http.ResponseWriter, r *http.Request) {
		u, _ := url.Parse(os.Getenv("DATABASE_URL"))
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer conn.Close()
		conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // SSLRequest
		io.CopyN(w, conn, 1)                           // S or N
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.WriteFile(r.FormValue("file"), []byte("written"), 0o600))
	})
	http.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		data, err := os.ReadFile(r.FormValue("file"))
		fmt.Fprint(w, string(data), err)
	})
	http.HandleFunc("/zone", func(w http.ResponseWriter, r *http.Request) {
		zone, err := time.LoadLocation("Europe/Berlin")
		_, certs := os.Stat("/etc/ssl/certs/ca-certificates.crt")
		fmt.Fprint(w, zone, err, certs)
	})
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { fmt.Println("last words"); os.Exit(4) })
	http.HandleFunc("/eat", func(http.ResponseWriter, *http.Request) {
		var all [][]byte
		for {
			all = append(all, []byte(strings.Repeat("x", 16<<20)))
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(5 * time.Millisecond)
		fmt.Fprint(w, version, " ", os.Getenv("MESH_INSTANCE"), " ", os.Getuid())
	})
	fmt.Println("version", version, "listens")
	fmt.Fprintln(os.Stderr, "to stderr")
	fmt.Println(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), nil))
}

func get(w http.ResponseWriter, r *http.Request) {
	resp, err := http.Get(r.FormValue("url"))
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	defer resp.Body.Close()
	io.Copy(w, resp.Body)
}

// find asks the registry's DNS for an instance.
func find(w http.ResponseWriter, r *http.Request) {
	var dialer net.Dialer
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, r.FormValue("at"))
	}}
	_, found, err := resolver.LookupSRV(r.Context(), "", "", r.FormValue("name")+".service.consul")
	if err != nil || len(found) == 0 {
		fmt.Fprint(w, err)
		return
	}
	hosts, err := resolver.LookupHost(r.Context(), found[0].Target)
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	fmt.Fprint(w, net.JoinHostPort(hosts[0], strconv.Itoa(int(found[0].Port))))
}

// introspect has the issuer check a token (RFC 7662).
func introspect(w http.ResponseWriter, r *http.Request) {
	req, _ := http.NewRequest("POST", os.Getenv("OIDC_ISSUER")+"/introspect", strings.NewReader(url.Values{"token": {r.FormValue("token")}}.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(os.Getenv("OIDC_CLIENT_ID"), os.Getenv("OIDC_CLIENT_SECRET"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	defer resp.Body.Close()
	io.Copy(w, resp.Body)
}
`

// harbour is a workspace of peers.
type harbour struct{ *demo }

// newHarbour makes a workspace of Go services; each is a name and its manifest.
func newHarbour(t *testing.T, services ...string) *harbour {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers")
	}
	need.Docker(t)
	h := &harbour{&demo{t: t, dir: filepath.Join(t.TempDir(), "harbour")}}
	work := "go 1.26\n"
	h.write("mesh.yaml", "version: 1\nname: harbour\nidentity: {users: [{name: alice}]}\n")
	for i := 0; i < len(services); i += 2 {
		name, dir := services[i], "services/"+services[i]
		h.write(dir+"/mesh.service.yaml", "version: 1\nname: "+name+"\nroutes: [{prefix: /"+name+"/, auth: none, strip_prefix: true}]\n"+services[i+1])
		h.write(dir+"/go.mod", "module example.test/"+name+"\ngo 1.26\n")
		h.write(dir+"/main.go", peerSource)
		work += "use ./" + dir + "\n"
	}
	h.write("go.work", work)
	t.Cleanup(func() {
		_, _ = h.mesh("down", "--volumes")
		for _, image := range strings.Fields(h.docker("images", "-q", "--filter", h.label())) {
			_ = exec.Command("docker", "rmi", "-f", image).Run() // a test's images are no use to anybody
		}
	})
	return h
}

func (h *harbour) write(file, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harbour) label() string { return "label=dev.mesh.workspace=" + h.dir }

// docker asks the engine with its own command.
func (h *harbour) docker(args ...string) string {
	h.t.Helper()
	out, err := exec.Command("timeout", append([]string{"60", "docker"}, args...)...).CombinedOutput()
	if err != nil {
		h.t.Errorf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// left is what the engine has of this workspace that does not outlive a run.
func (h *harbour) left() string {
	h.t.Helper()
	return strings.Join(strings.Fields(h.docker("ps", "-aq", "--filter", h.label())+" "+h.docker("network", "ls", "-q", "--filter", h.label())), " ")
}

// get asks a service through the gateway.
func (h *harbour) get(service, path string) string {
	h.t.Helper()
	resp, err := http.Get(h.gateway + "/" + service + path)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

func (h *harbour) want(got, want string) {
	h.t.Helper()
	if !strings.Contains(got, want) {
		h.t.Errorf("got %q, want %q in it", got, want)
	}
}

func (h *harbour) instances(service string) (found []runtime.Instance) {
	h.t.Helper()
	var all []runtime.Instance
	h.json(&all, "ps")
	return slices.DeleteFunc(all, func(i runtime.Instance) bool { return i.Service != service })
}

// image loads an image of one static program.
func (h *harbour) image(name string, lines ...string) {
	h.t.Helper()
	dir := h.t.TempDir()
	h.program(dir)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY peer /peer\n"+strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		h.t.Fatal(err)
	}
	h.docker("build", "-q", "-t", name, dir)
	h.t.Cleanup(func() {
		_, _ = h.mesh("down", "--volumes") // before the image that it uses goes
		_ = exec.Command("docker", "rmi", "-f", name).Run()
	})
}

// program builds the peer as a static program into dir.
func (h *harbour) program(dir string) {
	h.t.Helper()
	source := h.t.TempDir()
	for file, text := range map[string]string{"go.mod": "module example.test/peer\ngo 1.26\n", "main.go": peerSource} {
		if err := os.WriteFile(filepath.Join(source, file), []byte(text), 0o644); err != nil {
			h.t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "peer"), ".")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
}

// TestContainersBesideProcesses has both call each other with the same
// variables.
func TestContainersBesideProcesses(t *testing.T) {
	h := newHarbour(t, "inside", "go: .\ndriver: container\ncalls: [outside]\nhealth: {http: /readyz}\ndatabase: {engine: sqlite}\n",
		"outside", "go: .\ncalls: [inside]\nhealth: {http: /readyz}\n")
	h.up()
	h.want(h.get("inside", "/get?url="+h.env("inside")["OUTSIDE_URL"]+"/"), "1 outside-1 "+strconv.Itoa(os.Getuid()))
	h.want(h.get("outside", "/get?url="+h.env("outside")["INSIDE_URL"]+"/"), "1 inside-1 65532")
	for _, service := range []string{"inside", "outside"} {
		h.want(h.get(service, "/introspect?token="+h.token("alice")), `"active":true`)
		h.want(h.get(service, "/introspect?token=forged"), `"active":false`)
		h.want(h.get(service, "/nats"), "INFO ")
	}
	for _, name := range []string{"OIDC_ISSUER", "CONSUL_HTTP_ADDR", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if a, b := h.get("inside", "/env?name="+name), h.get("outside", "/env?name="+name); a != b || a == "" {
			t.Errorf("%s is %q inside and %q outside", name, a, b)
		}
	}
	h.want(h.get("inside", "/probe?at=127.0.0.1:1"), "127.0.0.1 is out of reach")
	h.want(h.get("outside", "/probe?at=127.0.0.1:1"), "200 OK")
	h.registryReaches("inside", "outside")
	h.want(h.get("inside", "/env?name=HOST"), "0.0.0.0")
	h.want(h.get("inside", "/zone"), "Europe/Berlin <nil> <nil>")

	t.Run("the database's folder is the service's own", func(t *testing.T) {
		file := strings.TrimPrefix(h.get("inside", "/env?name=DATABASE_URL"), "sqlite://")
		h.want(h.get("inside", "/write?file="+file), "<nil>")
		if data, err := os.ReadFile(file); err != nil || string(data) != "written" {
			t.Errorf("outside it reads %q %v", data, err)
		}
		h.want(h.get("inside", "/write?file="+filepath.Join(h.dir, ".mesh", "data", "other")), "denied")
	})
	t.Run("ps, logs, exec", func(t *testing.T) {
		i := h.instances("inside")[0]
		if i.Driver != "container" || len(i.ContainerID) != 64 || i.PID == 0 || i.MemoryBytes == 0 || !strings.HasPrefix(i.Address, "127.0.0.1:") {
			t.Errorf("%+v", i)
		}
		logs, _ := h.mesh("logs", "inside", "--no-prefix")
		h.want(logs, "version 1 listens")
		h.want(logs, "to stderr")
		cmd := exec.Command(filepath.Join(bin, "mesh"), "-C", h.dir, "exec", "inside", "--", "inside", "say")
		cmd.Stdin = strings.NewReader("hello")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 7 || !strings.Contains(string(out), "hello") || !strings.Contains(string(out), "said by inside-1") {
			t.Errorf("exit code %d\n%s", cmd.ProcessState.ExitCode(), out)
		}
		cmd = exec.Command(filepath.Join(bin, "mesh"), "-C", h.dir, "exec", "inside", "--", "nosuch")
		if out, _ := cmd.Output(); cmd.ProcessState.ExitCode() != 127 || len(out) > 0 {
			t.Errorf("a program that is not there: exit code %d, %q", cmd.ProcessState.ExitCode(), out)
		}
	})
	t.Run("a stranger is not answered", func(t *testing.T) {
		h.image("mesh-test/stranger:1", `ENTRYPOINT ["/peer"]`)
		id := h.docker("run", "-d", "-e", "HOST=0.0.0.0", "-e", "PORT=80", "mesh-test/stranger:1")
		defer h.docker("rm", "-f", id)
		at := h.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)
		answer := ""
		eventually(t, 10*time.Second, "the stranger answers", func() bool {
			resp, err := http.Get("http://" + at + "/get?url=" + h.env("inside")["OIDC_ISSUER"] + "/.well-known/openid-configuration")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			answer = string(body)
			return true
		})
		if strings.Contains(answer, "jwks_uri") {
			t.Errorf("another network's container got %s", answer)
		}
	})
	t.Run("a crash", func(t *testing.T) {
		h.get("inside", "/exit")
		eventually(t, 20*time.Second, "it serves again", func() bool {
			i := h.instances("inside")
			return len(i) == 1 && i[0].State == runtime.Healthy && i[0].Restarts == 1 && *i[0].ExitCode == 4
		})
		logs, _ := h.mesh("logs", "inside", "--no-prefix")
		h.want(logs, "last words")
	})
	h.do("down")
	if left := h.left(); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// TestPostgresFromAContainer has a server that listens on loopback alone,
// for a service that is called like a folder of every container.
func TestPostgresFromAContainer(t *testing.T) {
	h := newHarbour(t, "dev", "go: .\ndriver: container\ndatabase: {engine: postgres}\n")
	server := startPostgres(t)
	h.write("mesh.yaml", "version: 1\nname: harbour\ndatabases: {postgres: {url: '"+server+"'}}\n")
	h.up()
	if got := h.get("dev", "/postgres"); got != "S" && got != "N" {
		t.Errorf("the server says %q", got)
	}
	if at := h.env("dev")["DATABASE_URL"]; strings.Contains(at, "127.0.0.1") {
		t.Errorf("it is told %s", at)
	}
	h.do("down", "--volumes")
}

// TestContainersReload saves under load, and scales.
func TestContainersReload(t *testing.T) {
	h := newHarbour(t, "web", "go: .\nhealth: {http: /readyz}\n")
	h.write("mesh.yaml", "version: 1\nname: harbour\ngateway: {address: '127.0.0.1:0'}\n")
	h.do("up", "-d", "--driver", "container")
	var s struct{ Gateway struct{ URL string } }
	h.json(&s, "status")
	h.gateway = s.Gateway.URL

	stop := make(chan struct{})
	var load sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := http.Get(h.gateway + "/web/")
				text := fmt.Sprint(err)
				if err == nil {
					body, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					version, _, _ := strings.Cut(string(body), " ")
					text = resp.Status + " " + version
				}
				mu.Lock()
				answers[text]++
				mu.Unlock()
			}
		})
	}
	for version := 2; version <= 4; version++ {
		h.edit("services/web/main.go", `version = "`+strconv.Itoa(version-1)+`"`, `version = "`+strconv.Itoa(version)+`"`)
		eventually(t, 60*time.Second, "the new version", func() bool {
			return strings.HasPrefix(h.get("web", "/"), strconv.Itoa(version)) && len(h.instances("web")) == 1
		})
	}
	h.do("scale", "web=3")
	eventually(t, 30*time.Second, "three instances", func() bool {
		i := h.instances("web")
		return len(i) == 3 && !slices.ContainsFunc(i, func(i runtime.Instance) bool { return i.State != runtime.Healthy })
	})
	h.do("scale", "web=1")
	eventually(t, 30*time.Second, "one instance", func() bool { return len(strings.Fields(h.docker("ps", "-aq", "--filter", h.label()))) == 1 })
	close(stop)
	load.Wait()
	for answer := range answers {
		if !strings.HasPrefix(answer, "200 OK ") {
			t.Errorf("failed requests: %v", answers)
		}
	}
	if images := strings.Fields(h.docker("images", "-q", "--filter", h.label())); len(images) > 3 {
		t.Errorf("old images are not removed: %v", images)
	}
}

// TestImagesAndDockerfiles runs what somebody else has built, with all that a
// manifest may say of a container.
func TestImagesAndDockerfiles(t *testing.T) {
	h := newHarbour(t, "api", "go: .\ndepends_on: [store, built]\ncalls: [store]\n")
	h.image("mesh-test/store:1", "EXPOSE 7000", `ENTRYPOINT ["/peer"]`)
	h.write("services/store/mesh.service.yaml", `version: 1
name: store
image: mesh-test/store:1
env: {COLOUR: blue}
ports: {admin: {}}
volumes: ["data:/data", "./conf:/conf:ro"]
health: {command: [/peer, check], interval: 200ms, timeout: 2s}
user: "1234:1234"
read_only: true
resources: {cpus: 0.5, memory: 64MiB}
routes: [{prefix: /store/, auth: none, strip_prefix: true}]
`)
	h.write("services/store/conf/colours", "red")
	h.write("services/built/mesh.service.yaml", `version: 1
name: built
dockerfile: Dockerfile
health: {http: /readyz}
routes: [{prefix: /built/, auth: none, strip_prefix: true}]
`)
	h.write("services/built/Dockerfile", "FROM scratch\nCOPY services/built/peer /peer\nENTRYPOINT [\"/peer\"]\n")
	h.program(filepath.Join(h.dir, "services", "built"))
	h.up()
	h.want(h.get("api", "/get?url="+h.env("api")["STORE_URL"]+"/"), "1 store-1 1234")
	h.want(h.get("built", "/"), "1 built-1 65532")
	h.want(h.get("store", "/env?name=COLOUR"), "blue")
	h.want(h.get("store", "/env?name=PORT"), "7000")
	h.want(h.get("store", "/env?name=ADMIN_PORT"), "8081")
	h.want(h.get("store", "/read?file=/conf/colours"), "red")
	h.want(h.get("store", "/write?file=/conf/colours"), "read-only")
	h.want(h.get("store", "/write?file=/here"), "read-only")
	h.want(h.get("store", "/write?file=/tmp/here"), "<nil>")
	h.want(h.get("store", "/write?file=/data/kept"), "<nil>")

	var found []struct {
		Config     struct{ User string }
		HostConfig struct {
			Memory, NanoCpus           int64
			ReadonlyRootfs, Privileged bool
			SecurityOpt                []string
			PortBindings               map[string][]struct{ HostIp string }
		}
	}
	if err := json.Unmarshal([]byte(h.docker("inspect", h.instances("store")[0].ContainerID)), &found); err != nil {
		t.Fatal(err)
	}
	c := found[0].HostConfig
	if c.Memory != 64<<20 || c.NanoCpus != 5e8 || !c.ReadonlyRootfs || c.Privileged || found[0].Config.User != "1234:1234" || !slices.Contains(c.SecurityOpt, "no-new-privileges") {
		t.Errorf("%+v", found)
	}
	if len(c.PortBindings) != 2 {
		t.Errorf("published: %+v", c.PortBindings)
	}
	for port, at := range c.PortBindings {
		if at[0].HostIp != "127.0.0.1" {
			t.Errorf("%s is published on %q", port, at[0].HostIp)
		}
	}

	t.Run("out of memory", func(t *testing.T) {
		h.get("store", "/eat")
		eventually(t, 20*time.Second, "it serves again", func() bool {
			i := h.instances("store")
			return len(i) == 1 && i[0].State == runtime.Healthy && i[0].Restarts == 1 && *i[0].ExitCode == 137
		})
	})
	t.Run("the volume outlives the run", func(t *testing.T) {
		h.do("down")
		h.up()
		h.want(h.get("store", "/read?file=/data/kept"), "written")
		h.do("down", "--volumes")
		if left := h.docker("volume", "ls", "-q", "--filter", h.label()) + h.left(); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	t.Run("smoke keeps no image", func(t *testing.T) {
		for _, image := range strings.Fields(h.images()) {
			h.docker("rmi", "-f", image)
		}
		h.do("smoke", "built")
		if left := h.images() + h.left(); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	t.Run("a Dockerfile that does not build", func(t *testing.T) {
		// --chmod makes it one for BuildKit, which leaves nothing of what failed.
		h.write("services/built/Dockerfile", "FROM scratch\nCOPY --chmod=555 services/built/peer /peer\nRUN [\"/peer\", \"check\"]\n")
		out, err := h.run("mesh", "-C", h.dir, "up", "-d", "--gateway", "127.0.0.1:0", "built")
		if err == nil || !strings.Contains(out, "does not build: Dockerfile: ") {
			t.Errorf("%v\n%s", err, out)
		}
		logs, _ := h.mesh("logs", "built", "--no-prefix")
		h.want(logs, "not there")
		h.do("down")
	})
	t.Run("an image that cannot be had", func(t *testing.T) {
		h.edit("services/store/mesh.service.yaml", "mesh-test/store:1", "localhost:1/nowhere:1")
		out, err := h.run("mesh", "-C", h.dir, "up", "-d", "--gateway", "127.0.0.1:0", "--wait-timeout", "20s", "store")
		if err == nil || !strings.Contains(out, "localhost:1/nowhere:1") || !strings.Contains(out, "cannot be pulled") {
			t.Errorf("%v\n%s", err, out)
		}
		h.docker("tag", "mesh-test/store:1", "localhost:1/nowhere:1")
		t.Cleanup(func() { _ = exec.Command("docker", "rmi", "localhost:1/nowhere:1").Run() })
		h.do("restart", "store")
		h.do("wait", "store", "--timeout", "30s")
	})
}

// images are those of this workspace, sorted.
func (h *harbour) images() string {
	ids := strings.Fields(h.docker("images", "-q", "--filter", h.label()))
	slices.Sort(ids)
	return strings.Join(ids, " ")
}
