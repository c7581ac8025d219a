package manifest

import (
	"fmt"
	"testing"
	"time"
)

// TestRetriesFallBack holds that a route's retries are filled from the gateway's,
// and those from what holds everywhere; none stays none.
func TestRetriesFallBack(t *testing.T) {
	ws := loaded(t, `
-- mesh.yaml --
version: 1
name: x
gateway: {retries: {attempts: 1, codes: [503]}}
services:
  a:
    run: a
    routes:
      - {path: /gateways}
      - {path: /own, retries: {attempts: 3}}
      - {path: /none, retries: {attempts: 0}}
      - {path: /slower, retries: {codes: [500], backoff: 1s}}
`)
	a, _ := ws.Service("a")
	got := map[string]string{"gateway": written(ws.Gateway.Retries)}
	for _, r := range a.Routes {
		got[r.Path] = written(r.Retries)
	}
	for path, want := range map[string]string{"gateway": "1 [503] 25ms", "/gateways": "1 [503] 25ms", "/own": "3 [503] 25ms",
		"/none": "0 [503] 25ms", "/slower": "1 [500] 1s"} {
		if got[path] != want {
			t.Errorf("%s: %s, want %s", path, got[path], want)
		}
	}
	plain := loaded(t, "-- mesh.yaml --\nversion: 1\nname: x\nservices: {a: {run: a}}\n")
	if got := written(plain.Gateway.Retries); got != "2 [502 503] 25ms" {
		t.Errorf("without any: %s", got)
	}
}

func written(r *Retries) string {
	return fmt.Sprint(*r.Attempts, " ", r.Codes, " ", time.Duration(r.Backoff))
}
