package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// crash compares how long requests to a service take while another one beside it
// crashes and starts in a loop, and while that one is stopped.
func (b *bench) crash() {
	service := b.testservice()
	dir := filepath.Join(b.dir, "crash")
	check(os.MkdirAll(filepath.Join(dir, "svc"), 0o700))
	text := fmt.Sprintf(`version: 1
name: crash
gateway: {address: 127.0.0.1:0, auth: none}
services:
  calm: {dir: svc, run: [%[1]s], watch: manual, routes: [{prefix: /}]}
  crashing: {dir: svc, run: [%[1]s, -exit-after, 20ms], watch: manual, restart: {limit: 100000, window: 10s, max_backoff: 200ms}}
`, service)
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600))
	defer b.down(dir)
	timed(dir, nil, b.mesh, "up", "-d", "-q", "calm")
	url := b.status(dir).Gateway.URL + "/"
	var alone, beside []time.Duration
	for range b.runs {
		alone = append(alone, slowest(url))
		b.try(dir, "up", "-d", "-q", "--wait-timeout", "1s", "crashing")
		beside = append(beside, slowest(url))
		b.try(dir, "stop", "-q", "crashing")
	}
	bound := fmt.Sprintf("≤ 1.1 × %s", ms(median(alone)))
	b.report("p99 beside a crash loop", ms(median(beside)), bound, median(beside) <= median(alone)*11/10)
}

// try runs mesh and does not mind that it fails: a service that crashes never
// becomes healthy.
func (b *bench) try(dir string, args ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = command(ctx, dir, b.mesh, args...).Run()
	check(ctx.Err())
}

// slowest asks 200 times a second for five seconds and returns the 99th
// percentile.
func slowest(url string) time.Duration {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var took []time.Duration
	var asking sync.WaitGroup
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		<-tick.C
		asking.Go(func() {
			begun := time.Now()
			_, err := get(client, url)
			check(err)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(begun))
		})
	}
	asking.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}
