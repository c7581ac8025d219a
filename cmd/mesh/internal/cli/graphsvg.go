package cli

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/manifest"
)

// svgStyle needs nothing from outside, and follows whoever looks at it into the dark.
const svgStyle = `
  svg { color-scheme: light dark; background: #fff }
  text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle; dominant-baseline: central }
  text.label, text.legend { font-size: 11px; fill: #57606a; text-anchor: start; dominant-baseline: auto; stroke: #fff; stroke-width: 3px; paint-order: stroke }
  rect { fill: #f6f8fa; stroke: #57606a }
  rect.gateway { stroke-width: 2 }
  path { fill: none; stroke: #57606a }
  path.event { stroke-dasharray: 6 4 }
  path.after { stroke-dasharray: 1 4 }
  marker path { fill: #57606a; stroke: none }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 }
    text { fill: #e6edf3 }
    text.label, text.legend { fill: #9198a1; stroke: #0d1117 }
    rect { fill: #161b22; stroke: #9198a1 }
    path { stroke: #9198a1 }
    marker path { fill: #9198a1 }
  }
`

const legendHeight = 24

// graphSVG draws the graph as a picture that is complete by itself.
func graphSVG(w io.Writer, m *manifest.Workspace) {
	d := layOut(svgNodes(m), svgEdges(m))
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", d.width, d.height+legendHeight)
	fmt.Fprintf(w, "<title>%s</title>\n<style>%s</style>\n", escaped("The services of "+m.Name), svgStyle)
	fmt.Fprintln(w, `<defs><marker id="arrow" markerWidth="8" markerHeight="8" refX="8" refY="4" orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>`)
	for _, l := range d.lines {
		l.svg(w)
	}
	for _, e := range d.loops {
		d.spots[e.From].loop(w, e)
	}
	for _, layer := range d.layers {
		for _, s := range layer {
			s.svg(w)
		}
	}
	for _, l := range d.lines {
		l.svgLabel(w)
	}
	fmt.Fprintf(w, `<text class="legend" x="%d" y="%d">line: calls · dashes: hears the event · dots: starts after</text>`+"\n</svg>\n", margin, d.height)
}

// svgNodes are the services, and the gateway where anything comes in by it.
func svgNodes(m *manifest.Workspace) []string {
	nodes := m.Names()
	if slices.ContainsFunc(m.Services, routed) || len(nodes) == 0 {
		nodes = slices.Insert(nodes, 0, gatewayNode)
	}
	return nodes
}

func routed(s *manifest.Service) bool { return len(s.Routes) > 0 }

// svgEdges begin with those that decide what is drawn on the left: requests come in at
// the gateway, then calls, what starts first, and events.
func svgEdges(m *manifest.Workspace) []manifest.Edge {
	var edges []manifest.Edge
	for _, s := range m.Services {
		if routed(s) {
			edges = append(edges, manifest.Edge{From: gatewayNode, To: s.Name, Kind: "calls"})
		}
	}
	edges = append(edges, m.Edges()...)
	order := map[string]int{"calls": -2, "depends_on": -1}
	slices.SortStableFunc(edges, func(a, b manifest.Edge) int { return order[a.Kind] - order[b.Kind] })
	return edges
}

func (s *spot) svg(w io.Writer) {
	class := "service"
	switch s.name {
	case "":
		return
	case gatewayNode:
		class = "gateway"
	}
	fmt.Fprintf(w, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="8"/>`, class, s.x, s.y, s.width, s.height)
	fmt.Fprintf(w, `<text x="%d" y="%d">%s</text>`+"\n", s.x+s.width/2, s.middle(), escaped(s.shown()))
}

// shown is what stands in the box.
func (s *spot) shown() string {
	if s.name == gatewayNode {
		return "gateway"
	}
	return s.name
}

// loop is a line from a box to itself, above it.
func (s *spot) loop(w io.Writer, e manifest.Edge) {
	l := &line{Edge: e}
	x, top := s.x+s.width/2, s.y
	fmt.Fprintf(w, `<path class="%s" marker-end="url(#arrow)" d="M%d %d C%d %d %d %d %d %d"><title>%s</title></path>`+"\n",
		l.class(), x-12, top, x-24, top-portGap, x+24, top-portGap, x+12, top, escaped(l.label()))
}

func (l *line) svg(w io.Writer) {
	points := l.points()
	if l.back {
		slices.Reverse(points)
	}
	fmt.Fprintf(w, `<path class="%s" marker-end="url(#arrow)" d="%s"/>`+"\n", l.class(), curve(points))
}

// svgLabel stands above the line's left end, where lines are apart.
func (l *line) svgLabel(w io.Writer) {
	if label, start := l.label(), l.points()[0]; label != "" {
		fmt.Fprintf(w, `<text class="label" x="%d" y="%d">%s</text>`+"\n", start.x+12, start.y-3, escaped(label))
	}
}

// class is how a line looks.
func (l *line) class() string {
	switch l.Kind {
	case "calls":
		return "calls"
	case "depends_on":
		return "after"
	}
	return "event"
}

type point struct{ x, y int }

// points that a line goes through, from the left to the right: from a box, over the
// layers that it passes, and to a box. Between layers it is a curve, elsewhere straight.
func (l *line) points() []point {
	first, last := l.at[0], l.at[len(l.at)-1]
	points := []point{{first.x + first.width, first.port(first.right, l)}}
	for _, s := range l.at[1 : len(l.at)-1] {
		points = append(points, point{s.x, s.middle()}, point{s.x + s.width, s.middle()})
	}
	return append(points, point{last.x, last.port(last.left, l)})
}

// port is how far down a line meets a box.
func (s *spot) port(side []*line, l *line) int {
	i := slices.Index(side, l)
	return s.middle() + portGap*i - portGap*(len(side)-1)/2
}

// curve leads through points: every other part is straight.
func curve(points []point) string {
	var path strings.Builder
	fmt.Fprintf(&path, "M%d %d", points[0].x, points[0].y)
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if i%2 == 0 {
			fmt.Fprintf(&path, " L%d %d", b.x, b.y)
			continue
		}
		middle := (a.x + b.x) / 2
		fmt.Fprintf(&path, " C%d %d %d %d %d %d", middle, a.y, middle, b.y, b.x, b.y)
	}
	return path.String()
}

// escaped is text as XML has it.
func escaped(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a Builder takes everything
	return out.String()
}
