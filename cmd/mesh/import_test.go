//go:build linux

package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// callerSource answers at / with what it got from CALLEE, or with what it is.
const callerSource = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("CALLEE") == "" {
			fmt.Fprint(w, "a callee told "+os.Getenv("SECRET"))
			return
		}
		resp, err := http.Get(os.Getenv("CALLEE"))
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer resp.Body.Close()
		io.Copy(w, resp.Body)
	})
	fmt.Println(http.ListenAndServe(os.Args[1], nil))
}
`

const importedCompose = `services:
  front:
    build: .
    command: [":3000"]
    ports: ["19446:3000"]
    environment:
      CALLEE: http://back:9000/
    depends_on:
      back: {condition: service_healthy}
  back:
    build: {context: ., dockerfile: Dockerfile}
    command: ":9000"
    environment: ["SECRET=${SECRET:-nothing}"]
    healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:9000/readyz"], interval: 1s}
`

// TestImportedComposeRuns holds that what is imported runs in containers as it did:
// at the port that was published, calling by what was a name, told what .env says.
func TestImportedComposeRuns(t *testing.T) {
	h := newHarbour(t)
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.write("main.go", callerSource)
	h.write("go.mod", "module example.test/caller\ngo 1.26\n")
	h.write("Dockerfile", "FROM scratch\nCOPY caller /caller\nENTRYPOINT [\"/caller\"]\n")
	h.write(".env", "SECRET=of-the-env-file\n")
	h.write("compose.yaml", importedCompose)
	build := exec.Command("go", "build", "-o", "caller", ".")
	build.Dir, build.Env = h.dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := h.mesh("import", "compose", filepath.Join(h.dir, "compose.yaml")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := h.mesh("up", "-d", "--gateway", "127.0.0.1:0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	resp, err := http.Get("http://127.0.0.1:19446/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), "a callee told of-the-env-file") {
		t.Errorf("%s %v", body, err)
	}
}
