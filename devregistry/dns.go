package devregistry

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// domain is Consul's.
const domain = "consul."

// dnsGrace is how long answers under way may take when the registry stops.
const dnsGrace = time.Second

// ServeDNS answers Consul's DNS names on a UDP and a TCP port until ctx ends:
//
//	[TAG.]SERVICE.service[.dc1].consul          A, AAAA, SRV
//	_SERVICE._tcp.service[.dc1].consul          the same (RFC 2782); in place of tcp, a tag
//	NODE.node[.dc1].consul                      A
//	HEX.addr[.dc1].consul                       what SRV answers point at
//
// Only instances whose checks all pass are told, in random order, and with a time
// to live of zero. Names of other domains are refused.
func (r *Registry) ServeDNS(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	handler := dns.HandlerFunc(r.answerDNS)
	var serving errgroup.Group
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		serving.Go(s.ActivateAndServe)
		serving.Go(func() error {
			<-ctx.Done()
			<-started // one that has not begun cannot be stopped
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), dnsGrace)
			defer cancel()
			_ = s.ShutdownContext(patience) // what is late is cut off
			return nil
		})
	}
	return serving.Wait()
}

func (r *Registry) answerDNS(w dns.ResponseWriter, question *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(question)
	answer.Authoritative = true
	if len(question.Question) == 1 {
		r.resolve(answer, question.Question[0])
	} else {
		answer.Rcode = dns.RcodeFormatError
	}
	if _, overUDP := w.RemoteAddr().(*net.UDPAddr); overUDP {
		size := dns.MinMsgSize
		if options := question.IsEdns0(); options != nil {
			size = max(size, int(options.UDPSize()))
		}
		answer.Truncate(size)
	}
	_ = w.WriteMsg(answer) // a client that is gone asks again
}

func (r *Registry) resolve(answer *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	labels, inside := strings.CutSuffix(name, "."+domain)
	if !inside || q.Qclass != dns.ClassINET {
		answer.Rcode = dns.RcodeRefused
		return
	}
	labels = strings.TrimSuffix(labels, "."+datacenter)
	what, kind, _ := cutLast(labels)
	known := false
	switch kind {
	case "service":
		known = r.resolveService(answer, q, what)
	case "node":
		known = what == nodeName
		address(answer, q, netip.AddrFrom4([4]byte{127, 0, 0, 1}), known)
	case "addr":
		var ip netip.Addr
		ip, known = fromHex(what)
		address(answer, q, ip, known)
	}
	if !known {
		answer.Rcode = dns.RcodeNameError
	}
	if len(answer.Answer) == 0 {
		answer.Ns = []dns.RR{&dns.SOA{Hdr: header(domain, dns.TypeSOA), Ns: "ns." + domain, Mbox: "hostmaster." + domain,
			Serial: uint32(time.Now().Unix()), Refresh: 3600, Retry: 600, Expire: 86400}}
	}
}

// resolveService answers for a service; false when it has no healthy instance.
func (r *Registry) resolveService(answer *dns.Msg, q dns.Question, name string) bool {
	service, tag := serviceAndTag(name)
	instances := r.Passing(service)
	if tag != "" {
		instances = slices.DeleteFunc(instances, func(i Instance) bool {
			return !slices.ContainsFunc(i.Tags, func(t string) bool { return strings.EqualFold(t, tag) })
		})
	}
	rand.Shuffle(len(instances), func(i, j int) { instances[i], instances[j] = instances[j], instances[i] })
	for _, i := range instances {
		ip, err := netip.ParseAddr(i.Address)
		if err != nil {
			continue // a name of somebody's own: only HTTP tells it
		}
		if q.Qtype != dns.TypeSRV {
			address(answer, q, ip, true)
			continue
		}
		target := hex.EncodeToString(ip.AsSlice()) + ".addr." + datacenter + "." + domain
		answer.Answer = append(answer.Answer, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Priority: 1, Weight: 1, Port: uint16(i.Port), Target: target})
		answer.Extra = append(answer.Extra, record(target, ip))
	}
	return len(instances) > 0
}

// serviceAndTag reads SERVICE, TAG.SERVICE, and _SERVICE._PROTOCOL, where a
// protocol other than tcp and udp is a tag.
func serviceAndTag(name string) (service, tag string) {
	tag, service, two := cutLast(name)
	if !two {
		return name, ""
	}
	first, underscored := strings.CutPrefix(tag, "_")
	second, both := strings.CutPrefix(service, "_")
	switch {
	case !underscored || !both:
		return service, tag
	case second == "tcp" || second == "udp":
		return first, ""
	}
	return first, second
}

// cutLast cuts at the last dot.
func cutLast(name string) (before, last string, found bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// address answers with ip where the question asks for its kind.
func address(answer *dns.Msg, q dns.Question, ip netip.Addr, known bool) {
	if known && (q.Qtype == dns.TypeANY || q.Qtype == dns.TypeA && ip.Is4() || q.Qtype == dns.TypeAAAA && ip.Is6()) {
		answer.Answer = append(answer.Answer, record(q.Name, ip))
	}
}

func record(name string, ip netip.Addr) dns.RR {
	if ip.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: ip.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: ip.AsSlice()}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
}

func fromHex(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(raw)
}
