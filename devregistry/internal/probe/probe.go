// Package probe makes the health checks that a registry runs itself: HTTP, TCP
// and gRPC, as Consul's agent does
// (https://developer.hashicorp.com/consul/docs/services/usage/checks).
package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Status is what a check found. The values are Consul's.
type Status string

// What a check can find.
const (
	Passing  Status = "passing"
	Warning  Status = "warning"
	Critical Status = "critical"
)

const (
	// MaxOutput is how much of an answer is kept, as in Consul.
	MaxOutput = 4 << 10

	defaultTimeout = 10 * time.Second
)

// Target is what a check asks: one of HTTP, TCP and GRPC.
type Target struct {
	HTTP         string // URL
	Method, Body string
	Header       http.Header
	StayThere    bool // a redirect is an answer, and not followed

	TCP string // host:port

	GRPC string // host:port, or host:port/service

	TLS        bool // for TCP and GRPC; HTTP has its scheme
	ServerName string
	SkipVerify bool

	Timeout time.Duration // zero: 10 s
	Reach   Reach
}

// Kind names the kind of check as Consul does: http, tcp or grpc.
func (t *Target) Kind() string {
	switch {
	case t.HTTP != "":
		return "http"
	case t.TCP != "":
		return "tcp"
	}
	return "grpc"
}

// Run asks once and returns what it found, with at most MaxOutput bytes for a
// person to read. It takes no longer than the timeout.
func (t *Target) Run(ctx context.Context) (Status, string) {
	timeout := t.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	status, output := t.ask(ctx)
	if len(output) > MaxOutput {
		output = output[:MaxOutput]
	}
	return status, strings.ToValidUTF8(output, "\uFFFD")
}

func (t *Target) ask(ctx context.Context) (Status, string) {
	switch t.Kind() {
	case "http":
		return t.askHTTP(ctx)
	case "tcp":
		return t.askTCP(ctx)
	}
	return t.askGRPC(ctx)
}

// askTCP connects and hangs up.
func (t *Target) askTCP(ctx context.Context) (Status, string) {
	dialer := t.Reach.dialer()
	var conn net.Conn
	var err error
	if t.TLS {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: t.tls()}).DialContext(ctx, "tcp", t.TCP)
	} else {
		conn, err = dialer.DialContext(ctx, "tcp", t.TCP)
	}
	if err != nil {
		return Critical, fmt.Sprintf("TCP connect %s: %v", t.TCP, err)
	}
	conn.Close()
	return Passing, fmt.Sprintf("TCP connect %s: Success", t.TCP)
}

func (t *Target) tls() *tls.Config {
	//nolint:gosec // tls_skip_verify is asked for by the one who registers the check, as in Consul
	return &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
}
