package cli

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// drawn has a circle of calls and events, a line over a layer, one back, and a name
// that stands for itself.
const drawn = `version: 1
name: shop
services:
  billing: {dir: ., run: x, publishes: [billing.paid], consumes: [cart.checked_out], routes: [{prefix: /billing/}]}
  cart: {dir: ., run: x, calls: [profile], publishes: [cart.checked_out], consumes: [billing.paid], routes: [{prefix: /cart/}]}
  mailer: {dir: ., run: x, kind: worker, consumes: [billing.paid], depends_on: [profile]}
  profile: {dir: ., run: x, calls: [cart]}
`

func load(t *testing.T, text string) *manifest.Workspace {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, manifest.WorkspaceFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGraphSVG(t *testing.T) {
	var out bytes.Buffer
	graphSVG(&out, load(t, drawn))
	golden := filepath.Join("testdata", "graph.svg")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(want, out.Bytes()) {
		t.Errorf("not as in %s (%v), go test -update writes it:\n%s", golden, err, out.Bytes())
	}
}

// TestGraphSVGIsXML: whatever things are called.
func TestGraphSVGIsXML(t *testing.T) {
	m := load(t, drawn)
	m.Name = `<&">`
	m.Services[0].Consumes = []string{"cart.<&>", "billing.itself"}
	var out bytes.Buffer
	graphSVG(&out, m)
	for decoder := xml.NewDecoder(&out); ; {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLayOutKeepsBoxesApart: in a graph of many circles, too.
func TestLayOutKeepsBoxesApart(t *testing.T) {
	var nodes []string
	var edges []manifest.Edge
	for i := range 30 {
		nodes = append(nodes, fmt.Sprintf("n%d", i))
		for _, step := range []int{1, 7, 11} {
			edges = append(edges, manifest.Edge{From: nodes[i], To: fmt.Sprintf("n%d", (i*step+3)%30), Kind: "calls"})
		}
	}
	d := layOut(nodes, edges)
	if len(d.lines)+len(d.loops) != len(edges) {
		t.Errorf("%d lines and %d loops of %d edges", len(d.lines), len(d.loops), len(edges))
	}
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			if overlap(d.spots[a], d.spots[b]) {
				t.Errorf("%s lies on %s", a, b)
			}
		}
		if s := d.spots[a]; s.x < 0 || s.y < 0 || s.x+s.width > d.width || s.y+s.height > d.height {
			t.Errorf("%s is outside", a)
		}
	}
}

func overlap(a, b *spot) bool {
	return a.x < b.x+b.width && b.x < a.x+a.width && a.y < b.y+b.height && b.y < a.y+a.height
}

// TestGraphSVGOfNothing: a workspace without services is a picture too.
func TestGraphSVGOfNothing(t *testing.T) {
	var out bytes.Buffer
	graphSVG(&out, &manifest.Workspace{Name: "empty"})
	if !strings.Contains(out.String(), ">gateway</text>") {
		t.Error(out.String())
	}
}
