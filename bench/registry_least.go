package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// least is the least that a registry behind HTTP can do, and so the most that one can
// reach: a map that nothing is checked of, no index, no expiry, instances of a few
// bytes, and a stream of changes that nobody asks for again.
type least struct {
	base   string
	client *http.Client
	end    func()
}

// serveLeast is its server, a process of its own.
func serveLeast(args []string) error {
	var mu sync.RWMutex
	services, followers := map[string]map[string]string{}, map[chan []byte]bool{}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{service}/{id}", func(_ http.ResponseWriter, r *http.Request) {
		value, _ := io.ReadAll(r.Body)
		line := fmt.Appendf(nil, "%s %s\n", r.PathValue("service"), value)
		mu.Lock()
		defer mu.Unlock()
		if services[r.PathValue("service")] == nil {
			services[r.PathValue("service")] = map[string]string{}
		}
		services[r.PathValue("service")][r.PathValue("id")] = string(value)
		for follower := range followers {
			follower <- line
		}
	})
	mux.HandleFunc("GET /{service}", func(w http.ResponseWriter, r *http.Request) {
		mu.RLock()
		defer mu.RUnlock()
		_ = json.NewEncoder(w).Encode(services[r.PathValue("service")])
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		lines := make(chan []byte, 1024)
		mu.Lock()
		followers[lines] = true
		mu.Unlock()
		defer func() { mu.Lock(); delete(followers, lines); mu.Unlock() }()
		flush := http.NewResponseController(w).Flush
		for _ = flush(); ; _ = flush() {
			select {
			case line := <-lines:
				_, _ = w.Write(line)
			case <-r.Context().Done():
				return
			}
		}
	})
	return http.ListenAndServe(args[0], mux)
}

func (b *bench) leastPeer() peer {
	self, err := os.Executable()
	check(err)
	address := freeAddress()
	return &least{"http://" + address + "/", keepAlive(registryClients), started(exec.Command(self, "__least", address), address)}
}

func (l *least) stop() {
	l.client.CloseIdleConnections()
	l.end()
}

func (l *least) register(service, id, value string) error {
	return put(l.client, l.base+service+"/"+id, value)
}

func (l *least) lookup(service string) (int, error) {
	resp, err := l.client.Get(l.base + service)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.Count(string(body), ":"), err
}

func (l *least) watch(ctx context.Context, service string, seen func(string)) error {
	client := keepAlive(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req) //nolint:bodyclose // by whoever reads it, below
	if err != nil {
		return err
	}
	go func() { // until ctx ends
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if of, value, _ := strings.Cut(lines.Text(), " "); of == service {
				seen(value)
			}
		}
	}()
	return nil
}
