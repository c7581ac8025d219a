package smoke

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func checksOf(t *testing.T, text string) ([]Check, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "check.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(dir, []string{path})
}

// shop answers as a service would, and counts requests.
func shop(t *testing.T, requests *atomic.Int64) Target {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Authorization") != "Bearer token-of-alice" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header().Set("X-Shop", "yes")
		fmt.Fprintf(w, `{"cart":{"id":"c1","items":[{"sku":%q,"cents":700}],"open":true}}`, in["sku"])
	})
	mux.HandleFunc("GET /cart/c1", func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) < 3 {
			fmt.Fprint(w, `{"status":"OPEN"}`)
			return
		}
		fmt.Fprint(w, `{"status":"PAID"}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return Target{Gateway: server.URL, Token: func(_ context.Context, user string) (string, error) {
		if user == "eve" {
			return "", errors.New("there is no eve")
		}
		return "token-of-" + user, nil
	}}
}

func TestRun(t *testing.T) {
	checks, err := checksOf(t, `
version: 1
steps:
  - name: add
    as: alice
    request: {path: /add, json: {sku: tea}}
    expect: {json: {cart.items.0.sku: tea, cart.items.0.cents: 700, cart.open: true}, headers: {X-Shop: "yes"}, body: c1}
    capture: {cart: cart.id}
  - name: paid
    request: {path: "/cart/${cart}"}
    expect: {status: 200, json: {status: PAID}}
    within: 10s
`)
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	results := Run(t.Context(), checks, shop(t, &requests), func(Result) {})
	if len(results) != 2 || results[0].Failure != "" || results[1].Failure != "" || results[1].Attempts != 3 {
		t.Errorf("%+v", results)
	}
}

func TestFailures(t *testing.T) {
	for name, tt := range map[string]struct{ step, want string }{
		"status":   {`{as: alice, request: {path: /add, json: {sku: a}}, expect: {status: 201}}`, "status 200, expected 201"},
		"value":    {`{as: alice, request: {path: /add, json: {sku: a}}, expect: {json: {cart.id: c2}}}`, `cart.id is "c1", expected "c2"`},
		"no path":  {`{as: alice, request: {path: /add, json: {sku: a}}, expect: {json: {cart.items.1.sku: a}}}`, "the answer has no cart.items.1.sku"},
		"header":   {`{as: alice, request: {path: /add, json: {sku: a}}, expect: {headers: {X-Shop: no}}}`, `header X-Shop is "yes"`},
		"body":     {`{as: alice, request: {path: /add, json: {sku: a}}, expect: {body: zzz}}`, "does not contain"},
		"variable": {`{request: {path: "/cart/${nope}"}}`, "${nope} has no value"},
		"user":     {`{as: eve, request: {path: /cart/c1}}`, "there is no eve"},
		"once":     {`{request: {path: /cart/c1}, expect: {json: {status: PAID}}}`, `status is "OPEN"`},
		"no JSON":  {`{request: {path: /nowhere}, expect: {status: 404, json: {a: b}}}`, "is no JSON"},
		"capture":  {`{as: alice, request: {path: /add, json: {sku: a}}, capture: {x: cart.nope}}`, "capture x"},
	} {
		t.Run(name, func(t *testing.T) {
			checks, err := checksOf(t, "version: 1\nsteps:\n  - "+tt.step+"\n  - {name: after, request: {path: /add}}\n")
			if err != nil {
				t.Fatal(err)
			}
			var requests atomic.Int64
			results := Run(t.Context(), checks, shop(t, &requests), func(Result) {})
			if !strings.Contains(results[0].Failure, tt.want) || !results[1].Skipped {
				t.Errorf("%+v, want %q", results, tt.want)
			}
		})
	}
}

func TestAnInterruptedRunEnds(t *testing.T) {
	checks, err := checksOf(t, "version: 1\nsteps:\n  - {request: {path: /nowhere}, within: 1h}\n")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	var requests atomic.Int64
	if results := Run(ctx, checks, shop(t, &requests), func(Result) {}); results[0].Failure == "" {
		t.Errorf("%+v", results)
	}
}

func TestLoadProblems(t *testing.T) {
	for text, want := range map[string]string{
		"version: 1\nstepps: []\n":                                        "check.yaml:2:1: unknown field",
		"version: 2\nsteps: [{request: {path: /}}]\n":                     "version is 2",
		"version: 1\n":                                                    "has no steps",
		"version: 1\nsteps: [{request: {path: x}}]\n":                     "it starts with /",
		"version: 1\nsteps: [{request: {path: /x, json: {}, body: a}}]\n": "json or body",
		"version: 1\nsteps: [{request: {path: /x}, within: soon}]\n":      "no duration",
	} {
		_, err := checksOf(t, text)
		var problems manifest.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func TestJUnit(t *testing.T) {
	var b bytes.Buffer
	err := WriteJUnit(&b, "shop", []Result{
		{Check: "a", Step: "one", Duration: time.Second},
		{Check: "a", Step: "two", Failure: "bad \x1b <thing>"},
		{Check: "b", Step: "three", Skipped: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	var read suites
	if err := xml.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if read.Tests != 3 || read.Failures != 1 || read.Skipped != 1 || len(read.Suites) != 2 || read.Suites[0].Cases[1].Failure.Text != "bad  <thing>" {
		t.Errorf("%s", b.String())
	}
}

func FuzzLookup(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":1}]}`), "a.0.b")
	f.Fuzz(func(_ *testing.T, body []byte, path string) { _, _ = lookup(body, path) })
}
