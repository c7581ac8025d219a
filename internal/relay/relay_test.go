package relay

import (
	"context"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// shouter answers once the client has said all.
func shouter(t *testing.T) string {
	ln := listen(t)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			said, _ := io.ReadAll(conn)
			_, _ = conn.Write(append(said, '!'))
			conn.Close()
		}
	}()
	return ln.Addr().String()
}

func relayTo(t *testing.T, address string) (at string, stop func()) {
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- TCP(ctx, ln, address) }()
	return ln.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestBothDirectionsAndTheEndOfOne(t *testing.T) {
	at, stop := relayTo(t, shouter(t))
	defer stop()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("hello"))
	_ = conn.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(conn); string(got) != "hello!" || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

func TestNobodyThere(t *testing.T) {
	gone := listen(t)
	gone.Close()
	at, stop := relayTo(t, gone.Addr().String())
	defer stop()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, _ := io.ReadAll(conn); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestTheEndClosesConnections(t *testing.T) {
	silent := listen(t)
	at, stop := relayTo(t, silent.Addr().String())
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server, err := silent.Accept() // the relay has connected
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	stop()
	if got, _ := io.ReadAll(conn); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
