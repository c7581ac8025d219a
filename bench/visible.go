package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// visible measures, beside 1,000 other services, how long it takes from the answer to
// a registration until the gateway sends a request to the new instance.
func (b *bench) visible() {
	back := freeAddress()
	self, err := os.Executable()
	check(err)
	defer ended(b.child(b.dir, self, "__backend", back))
	dir := filepath.Join(b.dir, "visible")
	check(os.MkdirAll(dir, 0o700))
	var text strings.Builder
	text.WriteString("version: 1\nname: visible\ngateway: {address: 127.0.0.1:0, auth: none}\nservices:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  s%d: {dir: ., url: \"http://%s\", health: {tcp: true, interval: 1m}, routes: [{prefix: /s%d/}]}\n", i, back, i)
	}
	fmt.Fprintf(&text, "  fresh: {dir: ., url: \"http://%s\", health: {tcp: true, interval: 1m}, routes: [{prefix: /fresh/}]}\n", freeAddress())
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text.String()), 0o600))
	defer b.down(dir)
	_ = command(context.Background(), dir, b.mesh, "up", "-d", "-q", "--wait-timeout", "5s").Run() // fresh is at an address where nobody is
	s := b.status(dir)
	var took []time.Duration
	for range 200 * b.runs {
		check(put(http.DefaultClient, s.Registry.URL+"/v1/agent/service/register", registration(back)))
		begun := time.Now()
		_, err := get(http.DefaultClient, s.Gateway.URL+"/fresh/")
		check(err)
		took = append(took, time.Since(begun))
		check(put(http.DefaultClient, s.Registry.URL+"/v1/agent/service/deregister/fresh-outside", ""))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	b.report("an instance registered, until it is asked: p99", fmt.Sprintf("%s, median %s", ms(p99), ms(median(took))), "≤ 5 ms", p99 <= 5*time.Millisecond)
}

func registration(address string) string {
	host, port, err := net.SplitHostPort(address)
	check(err)
	return fmt.Sprintf(`{"ID": "fresh-outside", "Name": "fresh", "Address": %q, "Port": %s}`, host, port)
}

// put sends body to url, which answers 200 to what it takes.
func put(client *http.Client, url, body string) error {
	req, err := http.NewRequest(http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", url, resp.Status, text)
	}
	return err
}
