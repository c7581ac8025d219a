package devregistry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
