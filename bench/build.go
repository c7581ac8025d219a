package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// builds compares one build of ten services by mesh with one go build by hand,
// and measures how soon mesh knows that nothing has changed.
func (b *bench) builds() {
	const n = 10
	dir := filepath.Join(b.dir, "builds")
	var manifest, work strings.Builder
	manifest.WriteString(workspace + "defaults: {go: ., kind: task}\nservices:\n")
	work.WriteString("go 1.26\n")
	write := func(i int, version string) {
		at := filepath.Join(dir, fmt.Sprintf("s%d", i))
		check(os.MkdirAll(at, 0o700))
		check(os.WriteFile(filepath.Join(at, "go.mod"), fmt.Appendf(nil, "module example.com/s%d\n\ngo 1.26\n", i), 0o600))
		check(os.WriteFile(filepath.Join(at, "main.go"), fmt.Appendf(nil, "package main\n\nimport _ \"net/http\"\n\nfunc main() { println(%q) }\n", version), 0o600))
	}
	args := []string{"go", "build", "-buildvcs=false", "-o", "by-hand/"}
	for i := range n {
		write(i, "first")
		fmt.Fprintf(&manifest, "  s%d: {dir: s%d}\n", i, i)
		fmt.Fprintf(&work, "use ./s%d\n", i)
		args = append(args, fmt.Sprintf("./s%d", i))
	}
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(manifest.String()), 0o600))
	check(os.WriteFile(filepath.Join(dir, "go.work"), []byte(work.String()), 0o600))
	defer b.down(dir)
	empty := b.tiny("empty")
	var hand, mesh, nothing, alone []time.Duration
	for round := range b.runs {
		for i := range n {
			write(i, fmt.Sprintf("hand %d", round))
		}
		hand = append(hand, timed(dir, nil, args...))
		for i := range n {
			write(i, fmt.Sprintf("mesh %d", round))
		}
		mesh = append(mesh, timed(dir, nil, b.mesh, "up", "-d", "-q"))
		b.down(dir)
		nothing = append(nothing, timed(dir, nil, b.mesh, "up", "-d", "-q"))
		b.down(dir)
		alone = append(alone, timed(empty, nil, b.mesh, "up", "-d", "-q"))
		b.down(empty)
	}
	own := median(mesh) - median(nothing)
	b.report("one build of 10 services", ms(own), fmt.Sprintf("≤ 1.03 × %s", ms(median(hand))), own <= median(hand)*103/100)
	b.report("nothing changed, over a start without a build", ms(median(nothing)-median(alone)), "≤ 30 ms, 10 tasks included", median(nothing)-median(alone) <= 30*time.Millisecond)
}
