package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// logs compares how fast lines get to disk: 10 services that print as fast as
// they can, beside the minimal supervisor.
func (b *bench) logs() {
	const services, each = 10, 200_000
	command := []string{b.testservice(), "-flood", fmt.Sprint(each)}
	dir := b.crowd("logs", services, nothingMore, command...)
	defer b.down(dir)
	var least, mesh []float64 // lines a second
	var perLine time.Duration
	var memory float64
	lost := 0
	for range b.runs {
		// They print before they listen: when all are well, all is printed.
		begun := time.Now()
		s := b.supervisor(services, command...)
		least = append(least, services*each/time.Since(begun).Seconds())
		s.stop()

		check(os.RemoveAll(filepath.Join(dir, ".mesh", "logs")))
		begun = time.Now()
		timed(dir, nil, b.mesh, "up", "-d", "-q")
		mesh = append(mesh, services*each/time.Since(begun).Seconds())
		pid := b.status(dir).PID
		perLine, memory = cpu(pid)/(services*each), rss(pid)
		b.down(dir)
		files, err := filepath.Glob(filepath.Join(dir, ".mesh", "logs", "s*.log*"))
		check(err)
		for _, path := range files {
			lost -= linesOf(path)
		}
		lost += services * (each + 1)
	}
	b.report("10 services, 2 M lines, lines a second", fmt.Sprintf("%.2f M", middle(mesh)/1e6), fmt.Sprintf("≥ half of %.2f M", middle(least)/1e6), middle(mesh) >= middle(least)/2)
	b.report("processor time a line, the start included", fmt.Sprintf("%d ns", perLine.Nanoseconds()), "≤ 500 ns", perLine <= 500*time.Nanosecond)
	b.report("lines lost", fmt.Sprint(lost), "0", lost == 0)
	b.report("memory of the daemon then", fmt.Sprintf("%.1f MB", memory), "≤ 40 MB over mesh alone", memory <= 40+b.aloneMemory())
}

// aloneMemory is what mesh takes without services.
func (b *bench) aloneMemory() float64 {
	dir := b.tiny("alone")
	timed(dir, nil, b.mesh, "up", "-d", "-q")
	defer b.down(dir)
	return rss(b.status(dir).PID)
}

func middle(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

// linesOf counts newlines.
func linesOf(path string) int {
	f, err := os.Open(path)
	if err != nil {
		check(err)
	}
	defer f.Close()
	n, buf := 0, make([]byte, 1<<20)
	for {
		k, err := f.Read(buf)
		n += bytes.Count(buf[:k], []byte{'\n'})
		if err == io.EOF {
			return n
		}
		check(err)
	}
}
