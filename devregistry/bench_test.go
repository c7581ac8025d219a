package devregistry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// BenchmarkLookup asks for one of a hundred services of ten instances, which is
// what a balancer that polls does.
func BenchmarkLookup(b *testing.B) {
	r := fresh(b)
	for i := range 1000 {
		r.Register(Instance{ID: fmt.Sprint("i", i), Service: fmt.Sprint("s", i%100), Address: "127.0.0.1", Port: i + 1, Tags: []string{"v1"}})
	}
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			resp, err := client.Get(fmt.Sprintf("%s/v1/health/service/s%d?passing", server.URL, i%100))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
}

// BenchmarkWatch changes one service of ten instances under the eyes of 200
// blocking queries; an operation is a change that all have seen.
func BenchmarkWatch(b *testing.B) {
	const watchers = 200
	r := fresh(b)
	for i := range 10 {
		r.Register(Instance{ID: fmt.Sprint("i", i), Service: "web", Address: "127.0.0.1", Port: i + 1})
	}
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: watchers}}
	defer client.CloseIdleConnections()
	ask := func(index string) (next string) {
		resp, err := client.Get(server.URL + "/v1/health/service/web?passing&index=" + index)
		if err != nil {
			b.Error(err)
			return ""
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.Header.Get("X-Consul-Index")
	}
	var seen, watching sync.WaitGroup
	indexes := make([]string, watchers)
	for i := range indexes {
		indexes[i] = ask("")
	}
	port := 100
	for b.Loop() {
		port++
		seen.Add(watchers)
		for i := range indexes {
			watching.Go(func() {
				indexes[i] = ask(indexes[i])
				seen.Done()
			})
		}
		r.Register(Instance{ID: "i0", Service: "web", Address: "127.0.0.1", Port: port})
		seen.Wait()
	}
	watching.Wait()
}

// BenchmarkRegister registers instances with a TTL check, a thousand in turn.
func BenchmarkRegister(b *testing.B) {
	h := fresh(b).Handler()
	i := 0
	for b.Loop() {
		i++
		body := fmt.Sprintf(`{"ID":"i%d","Name":"s%d","Tags":["%d"],"Address":"127.0.0.1","Port":8080,"Check":{"TTL":"60s","Status":"passing"}}`, i%1000, i%100, i)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/agent/service/register", strings.NewReader(body)))
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
