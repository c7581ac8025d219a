package cli

import (
	"cmp"
	"slices"

	"github.com/ebef7166/mesh/manifest"
)

// Sizes of what is drawn, in pixels.
const (
	letterWidth  = 8 // of a name
	labelWidth   = 6 // of a letter at a line
	leastBox     = 36
	leastGap     = 60 // between two layers
	portGap      = 16 // between two lines at one side of a box, and between what is in one layer
	margin       = 24
	sweeps       = 4 // how often layers are put in order; more changes little
	passingPlace = 8 // the height of a line that passes a layer
)

// spot is a place in a layer: a box, or where a line passes.
type spot struct {
	name          string // "" for a line that passes
	layer         int
	x, y          int // of the upper left corner
	width, height int
	left, right   []*line // at each side
}

func (s *spot) middle() int { return s.y + s.height/2 }

// line is an edge as it is drawn, from the left to the right or back.
type line struct {
	manifest.Edge
	back bool    // its arrow points to the left
	at   []*spot // from the left to the right: its ends, and a place in each layer between
}

// drawing is a graph with a place for everything.
type drawing struct {
	layers        [][]*spot
	lines         []*line
	loops         []manifest.Edge // from a service to itself
	spots         map[string]*spot
	width, height int
}

// layOut draws each node to the right of those that lead to it, as far as circles
// permit: of a circle the last edge goes back.
func layOut(nodes []string, edges []manifest.Edge) *drawing {
	d := &drawing{spots: map[string]*spot{}}
	ranks := ranksOf(edges)
	for _, name := range nodes {
		d.spots[name] = d.add(name, ranks[name])
	}
	for _, e := range edges {
		d.connect(e)
	}
	for range sweeps {
		d.order()
	}
	d.place()
	return d
}

// add puts a new spot at the end of a layer.
func (d *drawing) add(name string, layer int) *spot {
	for len(d.layers) <= layer {
		d.layers = append(d.layers, nil)
	}
	s := &spot{name: name, layer: layer}
	d.layers[layer] = append(d.layers[layer], s)
	return s
}

// connect leads a line through all layers between its ends.
func (d *drawing) connect(e manifest.Edge) {
	from, to := d.spots[e.From], d.spots[e.To]
	if from == to {
		d.loops = append(d.loops, e)
		return
	}
	l := &line{Edge: e, back: from.layer > to.layer}
	if l.back {
		from, to = to, from
	}
	l.at = []*spot{from}
	for layer := from.layer + 1; layer < to.layer; layer++ {
		l.at = append(l.at, d.add("", layer))
	}
	l.at = append(l.at, to)
	for i, s := range l.at {
		if i > 0 {
			s.left = append(s.left, l)
		}
		if i < len(l.at)-1 {
			s.right = append(s.right, l)
		}
	}
	d.lines = append(d.lines, l)
}

// ranksOf numbers the layers: a node's is one more than the highest that leads to it.
func ranksOf(edges []manifest.Edge) map[string]int {
	next, before := map[string][]string{}, map[string][]string{}
	for _, e := range edges {
		if e.From != e.To && !leads(next, e.To, e.From, map[string]bool{}) {
			next[e.From] = append(next[e.From], e.To)
			before[e.To] = append(before[e.To], e.From)
		}
	}
	ranks := map[string]int{}
	var rank func(node string) int
	rank = func(node string) int {
		if known, ok := ranks[node]; ok {
			return known
		}
		highest := 0
		for _, b := range before[node] {
			highest = max(highest, rank(b)+1)
		}
		ranks[node] = highest
		return highest
	}
	for node := range before {
		rank(node)
	}
	return ranks
}

// leads reports whether there is a way from one node to another.
func leads(next map[string][]string, from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	seen[from] = true
	return slices.ContainsFunc(next[from], func(n string) bool { return !seen[n] && leads(next, n, to, seen) })
}

// order sorts each layer by where the lines of its spots come from, and then back by
// where they go to, so that few of them cross.
func (d *drawing) order() {
	for _, layer := range d.layers {
		d.sort(layer, -1)
	}
	for _, layer := range slices.Backward(d.layers) {
		d.sort(layer, +1)
	}
}

func (d *drawing) sort(layer []*spot, side int) {
	rows := d.rows()
	slices.SortStableFunc(layer, func(a, b *spot) int { return cmp.Compare(a.mean(side, rows), b.mean(side, rows)) })
}

// rows are how far down each spot is, as a part of its layer.
func (d *drawing) rows() map[*spot]float64 {
	rows := map[*spot]float64{}
	for _, layer := range d.layers {
		for i, s := range layer {
			rows[s] = (float64(i) + 0.5) / float64(len(layer))
		}
	}
	return rows
}

// mean row of what is next to a spot at one side; its own where there is nothing.
func (s *spot) mean(side int, rows map[*spot]float64) float64 {
	lines := s.left
	if side > 0 {
		lines = s.right
	}
	if len(lines) == 0 {
		return rows[s]
	}
	sum := 0.0
	for _, l := range lines {
		sum += rows[l.beside(s, side)]
	}
	return sum / float64(len(lines))
}

// beside is the spot next to s on the line.
func (l *line) beside(s *spot, side int) *spot { return l.at[slices.Index(l.at, s)+side] }

// place gives everything its coordinates.
func (d *drawing) place() {
	x := margin
	for _, layer := range d.layers {
		width := sizes(layer)
		for _, s := range layer {
			s.x, s.width = x, width
		}
		x += width + gapAfter(layer)
	}
	last := d.layers[len(d.layers)-1]
	d.width = last[0].x + last[0].width + margin
	for _, layer := range d.layers {
		d.height = max(d.height, heightOf(layer))
	}
	for _, layer := range d.layers {
		y := margin + (d.height-heightOf(layer))/2
		for _, s := range layer {
			s.y = y
			y += s.height + portGap
		}
	}
	d.height += 2 * margin
	d.sortPorts()
}

// sizes makes boxes as large as their names and lines need, and returns the width of
// the layer.
func sizes(layer []*spot) (width int) {
	for _, s := range layer {
		s.height = passingPlace
		if s.name != "" {
			s.height = max(leastBox, (max(len(s.left), len(s.right))+1)*portGap)
			width = max(width, letterWidth*len([]rune(s.shown()))+2*portGap)
		}
	}
	return width
}

// gapAfter leaves room for what is written at the lines that leave a layer.
func gapAfter(layer []*spot) int {
	longest := 0
	for _, s := range layer {
		for _, l := range s.right {
			if l.at[0] == s {
				longest = max(longest, len([]rune(l.label())))
			}
		}
	}
	return leastGap + longest*labelWidth
}

func heightOf(layer []*spot) int {
	sum := -portGap
	for _, s := range layer {
		sum += s.height + portGap
	}
	return sum
}

// sortPorts has lines leave a box in the order in which they arrive.
func (d *drawing) sortPorts() {
	for _, layer := range d.layers {
		for _, s := range layer {
			slices.SortStableFunc(s.left, func(a, b *line) int { return cmp.Compare(a.beside(s, -1).middle(), b.beside(s, -1).middle()) })
			slices.SortStableFunc(s.right, func(a, b *line) int { return cmp.Compare(a.beside(s, +1).middle(), b.beside(s, +1).middle()) })
		}
	}
}

// label is what is written at a line.
func (l *line) label() string {
	switch l.Kind {
	case "calls":
		return ""
	case "depends_on":
		return "after"
	}
	return l.Kind
}
