package probe

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/ebef7166/mesh/internal/grpchealth"
)

// transport is made for one request and kept for none: a check tells whether a
// new connection works. The host's proxies are not asked, since the address would
// then be theirs to choose.
func (t *Target) transport(protocols *http.Protocols) *http.Transport {
	return &http.Transport{
		DialContext: t.Reach.dialer().DialContext, TLSClientConfig: t.tls(), Protocols: protocols,
		DisableKeepAlives: true, MaxResponseHeaderBytes: 32 << 10,
	}
}

// askHTTP: 2xx is passing, 429 a warning, all else critical.
func (t *Target) askHTTP(ctx context.Context) (Status, string) {
	req, err := t.request(ctx)
	if err != nil {
		return Critical, err.Error()
	}
	transport := t.transport(nil)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if t.StayThere {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := client.Do(req)
	if err != nil {
		return Critical, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, MaxOutput)) // the status was the answer
	return httpStatus(resp.StatusCode), fmt.Sprintf("HTTP %s %s: %s Output: %s", req.Method, t.HTTP, resp.Status, body)
}

func (t *Target) request(ctx context.Context) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, t.Method, t.HTTP, strings.NewReader(t.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "Consul Health Check") // some services do not log it
	req.Header.Set("Accept", "text/plain, text/*, */*")
	for name, values := range t.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	return req, nil
}

func httpStatus(code int) Status {
	switch {
	case code >= 200 && code <= 299:
		return Passing
	case code == http.StatusTooManyRequests:
		return Warning
	}
	return Critical
}

// askGRPC calls grpc.health.v1.Health/Check.
func (t *Target) askGRPC(ctx context.Context) (Status, string) {
	address, service, _ := strings.Cut(t.GRPC, "/")
	var protocols http.Protocols
	scheme := "http://"
	if t.TLS {
		scheme = "https://"
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	transport := t.transport(&protocols)
	defer transport.CloseIdleConnections()
	if err := grpchealth.Check(ctx, &http.Client{Transport: transport}, scheme+address, service); err != nil {
		return Critical, fmt.Sprintf("gRPC check %s: %v", t.GRPC, err)
	}
	return Passing, fmt.Sprintf("gRPC check %s: success", t.GRPC)
}
