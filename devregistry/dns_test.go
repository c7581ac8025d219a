package devregistry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// named serves a registry by DNS and returns its address.
func named(t *testing.T, r *Registry) string {
	t.Helper()
	tcp, udp := bothPorts(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.ServeDNS(ctx, udp, tcp) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return tcp.Addr().String()
}

// bothPorts listens on a TCP port whose UDP port is free too.
func bothPorts(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	var taken error
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return tcp, udp
		}
		taken = err
		defer tcp.Close() // not before another has been found, or it would be offered again
	}
	t.Fatal(taken)
	return nil, nil
}

// TestDNS asks by Go's own resolver, which knows nothing of Consul.
func TestDNS(t *testing.T) {
	r := fresh(t)
	r.Register(Instance{ID: "web-1", Service: "web", Address: "127.0.0.1", Port: 8001, Tags: []string{"v1"}})
	r.Register(Instance{ID: "web-2", Service: "web", Address: "127.0.0.2", Port: 8002, Tags: []string{"v2"}})
	r.Register(Instance{ID: "six-1", Service: "six", Address: "::1", Port: 8003})
	at := named(t, r)
	for _, network := range []string{"udp", "tcp"} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		}}
		for name, want := range map[string][]string{
			"web.service.consul.": {"127.0.0.1", "127.0.0.2"}, "WEB.service.DC1.consul.": {"127.0.0.1", "127.0.0.2"},
			"v2.web.service.consul.": {"127.0.0.2"}, "_web._v1.service.consul.": {"127.0.0.1"}, "six.service.consul.": {"::1"},
			"mesh.node.consul.": {"127.0.0.1"}, "7f000002.addr.dc1.consul.": {"127.0.0.2"},
		} {
			got, err := resolver.LookupHost(t.Context(), name)
			slices.Sort(got)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s over %s: %v %v, want %v", name, network, got, err, want)
			}
		}
		_, targets, err := resolver.LookupSRV(t.Context(), "web", "tcp", "service.consul.")
		var ports []int
		for _, target := range targets {
			ports = append(ports, int(target.Port))
			if ips, err := resolver.LookupHost(t.Context(), target.Target); err != nil || len(ips) != 1 {
				t.Errorf("%s: %v %v", target.Target, ips, err)
			}
		}
		if slices.Sort(ports); err != nil || !slices.Equal(ports, []int{8001, 8002}) {
			t.Errorf("SRV over %s: %v %v", network, ports, err)
		}
		for _, name := range []string{"nothing.service.consul.", "v3.web.service.consul.", "web.consul.", "xyz.addr.consul."} {
			var failed *net.DNSError
			if _, err := resolver.LookupHost(t.Context(), name); !errors.As(err, &failed) || !failed.IsNotFound {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestDNSTellsWhatIsSoNow(t *testing.T) {
	r := fresh(t)
	at := named(t, r)
	ask := func(name string, kind uint16) *dns.Msg {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(name, kind)
		client := &dns.Client{Timeout: 10 * time.Second}
		answer, _, err := client.Exchange(q, at)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := ask("cart.service.consul.", dns.TypeA); got.Rcode != dns.RcodeNameError || len(got.Ns) != 1 {
		t.Errorf("unknown: %v", got)
	}
	r.Register(cart("cart-1"))
	r.Register(Instance{ID: "six-1", Service: "six", Address: "::1", Port: 1})
	if got := ask("six.service.consul.", dns.TypeA); got.Rcode != dns.RcodeSuccess || len(got.Answer) > 0 || len(got.Ns) != 1 {
		t.Errorf("no address of that kind: %v", got)
	}
	if got := ask("example.com.", dns.TypeA); got.Rcode != dns.RcodeRefused {
		t.Errorf("another domain: %v", got)
	}
	for i := range 100 {
		r.Register(Instance{ID: fmt.Sprint("many-", i), Service: "many", Address: fmt.Sprintf("127.0.1.%d", i), Port: 1})
	}
	got := ask("many.service.consul.", dns.TypeA)
	if !got.Truncated || len(got.Answer) == 0 || got.Answer[0].Header().Ttl != 0 {
		t.Errorf("more than a packet holds: truncated %v, %d answers", got.Truncated, len(got.Answer))
	}
}

// FuzzDNS sends packets as they come.
func FuzzDNS(f *testing.F) {
	q := new(dns.Msg)
	q.SetQuestion("_web._tcp.service.consul.", dns.TypeSRV)
	packet, err := q.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packet)
	f.Fuzz(func(t *testing.T, packet []byte) {
		r := fresh(t)
		r.Register(Instance{ID: "web-1", Service: "web", Address: "127.0.0.1", Port: 8001})
		question := new(dns.Msg)
		if question.Unpack(packet) != nil {
			return
		}
		for _, overUDP := range []bool{true, false} {
			if _, err := r.reply(question, overUDP).Pack(); err != nil {
				t.Errorf("%v: %v", question, err)
			}
		}
	})
}
