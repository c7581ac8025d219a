package listening

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
)

func listen(t *testing.T, network, address string) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ln.Addr().(*net.TCPAddr).AddrPort().Port())
}

// TestAt: as whoever listens is bound, and connections that exist or have ended say
// nothing.
func TestAt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux is asked")
	}
	for _, bound := range []struct{ network, address string }{{"tcp4", "127.0.0.1:0"}, {"tcp4", "0.0.0.0:0"}, {"tcp", "[::]:0"}} {
		ln, addr := listen(t, bound.network, bound.address)
		if listens, known := At(addr); !listens || !known {
			t.Errorf("%v: %v, known: %v", bound, listens, known)
		}
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		if listens, known := At(addr); listens || !known {
			t.Errorf("%v: with a connection left of it: %v, known: %v", bound, listens, known)
		}
		accepted.Close() // its side stays in TIME-WAIT
		conn.Close()
		if listens, known := At(addr); listens || !known {
			t.Errorf("%v: after it: %v, known: %v", bound, listens, known)
		}
	}
}

func TestAtIsBoundElsewhere(t *testing.T) {
	_, addr := listen(t, "tcp4", "127.0.0.2:0")
	if listens, _ := At(addr); listens {
		t.Error("it listens at 127.0.0.2 alone")
	}
	if _, known := At(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port())); !known && runtime.GOOS == "linux" {
		t.Error("127.0.0.2 is loopback")
	}
}

func TestAtOfOtherMachines(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:80", "[::1]:80", "0.0.0.0:80"} {
		if _, known := At(netip.MustParseAddrPort(addr)); known {
			t.Errorf("%s is not known", addr)
		}
	}
}

// BenchmarkAt beside a connection that is refused.
func BenchmarkAt(b *testing.B) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	ln.Close()
	b.Run("asked", func(b *testing.B) {
		for b.Loop() {
			At(addr)
		}
	})
	b.Run("refused", func(b *testing.B) {
		for b.Loop() {
			if conn, err := net.Dial("tcp", addr.String()); err == nil {
				conn.Close()
			}
		}
	})
}
