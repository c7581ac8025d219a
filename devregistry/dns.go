package devregistry

import (
	"context"
	"net"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// domain is Consul's.
const domain = "consul."

// dnsGrace is how long answers under way may take when the registry stops.
const dnsGrace = time.Second

// ServeDNS answers Consul's DNS names
// (https://developer.hashicorp.com/consul/docs/services/discovery/dns-static-lookups)
// on a UDP and a TCP port until ctx ends:
//
//	[TAG.]SERVICE.service[.dc1].consul          A, AAAA, SRV
//	_SERVICE._tcp[.service][.dc1].consul        the same (RFC 2782); in place of tcp, a tag
//	NODE.node[.dc1].consul                      A
//	HEX.addr[.dc1].consul                       what SRV answers point at
//
// Only instances without a critical check are told, in random order, and with a
// time to live of zero. Names of other domains are refused.
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
	_, overUDP := w.RemoteAddr().(*net.UDPAddr)
	_ = w.WriteMsg(r.reply(question, overUDP)) // a client that is gone asks again
}

// reply answers a message, in one packet when it goes over UDP: what does not fit
// is left out, with the mark that has the client ask again over TCP.
func (r *Registry) reply(question *dns.Msg, overUDP bool) *dns.Msg {
	answer := new(dns.Msg)
	answer.SetReply(question)
	answer.Authoritative = true
	size := dns.MaxMsgSize
	options := question.IsEdns0()
	if overUDP {
		size = dns.MinMsgSize
		if options != nil {
			size = max(size, int(options.UDPSize()))
		}
	}
	switch {
	case question.Opcode != dns.OpcodeQuery:
		answer.Rcode = dns.RcodeNotImplemented
	case len(question.Question) != 1:
		answer.Rcode = dns.RcodeFormatError
	case options != nil && options.Version() != 0:
		answer.Rcode = dns.RcodeBadVers // RFC 6891, 6.1.3
	default:
		r.resolve(answer, question.Question[0])
	}
	if options != nil {
		answer.SetEdns0(dns.DefaultMsgSize, false)
	}
	answer.Truncate(size)
	return answer
}
