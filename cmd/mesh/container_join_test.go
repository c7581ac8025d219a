//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ebef7166/mesh/runtime"
)

// TestTheFirstContainerJoins has a run of processes only, whose manifests then ask
// for a container: without an engine nothing changes, with one nobody notices.
func TestTheFirstContainerJoins(t *testing.T) {
	h := newHarbour(t, "inside", "go: .\ncalls: [outside]\nhealth: {http: /readyz}\n",
		"outside", "go: .\ncalls: [inside]\nhealth: {http: /readyz}\n")
	engine := newDoor(t)
	engine.lock()
	t.Setenv("DOCKER_HOST", "unix://"+engine.path)
	h.up()
	before, pid := h.env("outside"), h.instances("outside")[0].PID

	h.edit("services/inside/mesh.service.yaml", "go: .", "go: .\ndriver: container")
	if out, err := h.run("mesh", "-C", h.dir, "up", "-d"); err == nil || !strings.Contains(out, "no Docker engine answers at unix://") {
		t.Errorf("%v\n%s", err, out)
	}
	if now := h.env("outside"); now["OIDC_ISSUER"] != before["OIDC_ISSUER"] || now["INSIDE_URL"] != before["INSIDE_URL"] || h.instances("outside")[0].PID != pid {
		t.Errorf("without an engine something has changed: %v", now)
	}

	engine.unlock()
	out, err := h.run("mesh", "-C", h.dir, "up", "--dry-run")
	if err != nil {
		t.Errorf("%v", err)
	}
	h.want(out, "replace  inside (its manifest changed)")
	h.want(out, "restart  outside (the first container joins")
	failed := h.load("inside", "outside")
	h.do("up", "-d")
	eventually(t, 30*time.Second, "both are new, and alone", func() bool {
		in, beside := h.instances("inside"), h.instances("outside")
		return len(in) == 1 && len(beside) == 1 && in[0].Driver == "container" && beside[0].PID != pid &&
			in[0].State == runtime.Healthy && beside[0].State == runtime.Healthy
	})
	if failed := failed(); len(failed) > 0 {
		t.Errorf("failed requests: %v", failed)
	}
	h.want(h.get("inside", "/get?url="+h.env("inside")["OUTSIDE_URL"]+"/"), "1 outside-")
	h.want(h.get("outside", "/get?url="+h.env("outside")["INSIDE_URL"]+"/"), "1 inside-")
	for _, service := range []string{"inside", "outside"} {
		h.want(h.get(service, "/introspect?token="+h.token("alice")), `"active":true`)
		h.want(h.get(service, "/nats"), "INFO ")
	}
	h.registryReaches("inside", "outside")
	if out, err := h.run("mesh", "-C", h.dir, "up", "--dry-run"); err != nil || !strings.Contains(out, "nothing to do") {
		t.Errorf("%v\n%s", err, out)
	}
	h.do("down")
	if left := h.left(); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// load asks services through the gateway until its result is called, which tells
// the answers that were none.
func (h *harbour) load(services ...string) (failed func() map[string]int) {
	stop, answers := make(chan struct{}), map[string]int{}
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, service := range services {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := http.Get(h.gateway + "/" + service + "/")
				if err == nil && resp.StatusCode == http.StatusOK {
					_, err = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				} else if err == nil {
					err = fmt.Errorf("%s", resp.Status)
					resp.Body.Close()
				}
				if err != nil {
					mu.Lock()
					answers[service+": "+err.Error()]++
					mu.Unlock()
				}
			}
		})
	}
	return func() map[string]int { close(stop); all.Wait(); return answers }
}

// registryReaches has each of two services find both in the registry, by HTTP and
// DNS, and call them where it says.
func (h *harbour) registryReaches(a, b string) {
	h.t.Helper()
	var status struct {
		RegistryDNS struct{ URL string } `json:"registry_dns"`
	}
	h.json(&status, "status")
	resolver := strings.TrimPrefix(status.RegistryDNS.URL, "dns://")
	for _, from := range []string{a, b} {
		for _, to := range []string{a, b} {
			var found []struct {
				Service struct {
					Address string
					Port    int
				}
			}
			asked := url.QueryEscape("http://" + h.env(from)["CONSUL_HTTP_ADDR"] + "/v1/health/service/" + to + "?passing")
			if body := h.get(from, "/get?url="+asked); json.Unmarshal([]byte(body), &found) != nil || len(found) != 1 {
				h.t.Errorf("%s finds of %s: %s", from, to, body)
				continue
			}
			at := net.JoinHostPort(found[0].Service.Address, strconv.Itoa(found[0].Service.Port))
			h.want(h.get(from, "/get?url=http://"+at+"/"), "1 "+to+"-")
			h.want(h.get(from, "/find?at="+resolver+"&name="+to), at)
		}
	}
}
