package devregistry

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// resolve answers a question: a name that is not there is NXDOMAIN, one without a
// record of the kind asked for an empty answer, both with the SOA that lets a
// resolver keep neither (RFC 2308).
func (r *Registry) resolve(answer *dns.Msg, q dns.Question) {
	labels, inside := strings.CutSuffix("."+strings.ToLower(q.Name), "."+domain)
	if !inside || q.Qclass != dns.ClassINET {
		answer.Rcode, answer.Authoritative = dns.RcodeRefused, false
		return
	}
	labels = strings.TrimPrefix(labels, ".")
	if labels == "" {
		resolveApex(answer, q)
	} else if !r.resolveName(answer, q, labels) {
		answer.Rcode = dns.RcodeNameError
	}
	if len(answer.Answer) == 0 {
		answer.Ns = []dns.RR{soa()}
	}
}

// resolveApex answers for the domain itself.
func resolveApex(answer *dns.Msg, q dns.Question) {
	switch q.Qtype {
	case dns.TypeSOA:
		answer.Answer = append(answer.Answer, soa())
	case dns.TypeNS:
		answer.Answer = append(answer.Answer, &dns.NS{Hdr: header(domain, dns.TypeNS), Ns: nodeName + ".node." + domain})
	}
}

func soa() dns.RR {
	return &dns.SOA{Hdr: header(domain, dns.TypeSOA), Ns: "ns." + domain, Mbox: "hostmaster." + domain,
		Serial: uint32(time.Now().Unix()), Refresh: 3600, Retry: 600, Expire: 86400}
}

// resolveName answers for what stands before the domain; false when there is no
// such name.
func (r *Registry) resolveName(answer *dns.Msg, q dns.Question, labels string) bool {
	labels = strings.TrimSuffix(labels, "."+datacenter)
	what, kind, two := cutLast(labels)
	if !two {
		return false
	}
	switch kind {
	case "service":
		return r.resolveService(answer, q, what)
	case "node":
		address(answer, q, netip.MustParseAddr(nodeAddress), what == r.node)
		return what == r.node
	case "addr":
		ip, ok := fromHex(what)
		address(answer, q, ip, ok)
		return ok
	}
	if strings.HasPrefix(kind, "_") { // RFC 2782 without .service
		return r.resolveService(answer, q, labels)
	}
	return false
}

// resolveService answers for a service; false when it has no instance to tell.
func (r *Registry) resolveService(answer *dns.Msg, q dns.Question, name string) bool {
	service, tag := serviceAndTag(name)
	found := r.reachable(service, tag)
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	if q.Qtype != dns.TypeSRV {
		plain(answer, q, found)
		return len(found) > 0
	}
	for _, f := range found {
		f.srv(answer, q)
	}
	return len(found) > 0
}

// told is an instance as DNS tells it.
type told struct {
	host   string
	port   int
	weight int
}

// reachable are the instances of a service, named in any case, with a tag ("" for
// any) and no critical check. Those with a warning have a weight of their own.
func (r *Registry) reachable(name, tag string) []told {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []told
	for _, s := range r.named(name) {
		status := r.status(s)
		if status == statusCritical || !hasTags(s, []string{tag}) {
			continue
		}
		t := told{host: s.Address, port: s.Port, weight: s.weights.Passing}
		if status == statusWarning {
			t.weight = s.weights.Warning
		}
		if t.host == "" {
			t.host = nodeAddress
		}
		found = append(found, t)
	}
	return found
}

// named are the instances of a service whose name is lower-cased: DNS has no case.
func (r *Registry) named(lower string) []*service {
	if len(r.names[lower]) > 0 {
		return r.sortedByName(lower)
	}
	for name := range r.names {
		if strings.EqualFold(name, lower) {
			return r.sortedByName(name)
		}
	}
	return nil
}

// plain answers with the addresses, or where no instance has one with the host name of
// an instance, which the client resolves elsewhere: a name that has a CNAME has nothing
// else (RFC 1034 section 3.6.2).
func plain(answer *dns.Msg, q dns.Question, found []told) {
	var alias dns.RR
	addressed := false
	for _, t := range found {
		if ip, err := netip.ParseAddr(t.host); err == nil {
			addressed = true
			address(answer, q, ip, true)
		} else if target, ok := hostName(t.host); ok {
			alias = &dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: target}
		}
	}
	if !addressed && alias != nil {
		answer.Answer = append(answer.Answer, alias)
	}
}

func (t told) srv(answer *dns.Msg, q dns.Question) {
	target, ok := hostName(t.host)
	if ip, err := netip.ParseAddr(t.host); err == nil {
		ip = ip.Unmap()
		ok, target = true, hex.EncodeToString(ip.AsSlice())+".addr."+datacenter+"."+domain
		answer.Extra = append(answer.Extra, record(target, ip))
	}
	if ok {
		answer.Answer = append(answer.Answer, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Priority: 1, Weight: uint16(t.weight), Port: uint16(t.port), Target: target})
	}
}

// hostName is a host as a whole name; false when it is none that DNS can carry.
func hostName(host string) (string, bool) {
	_, ok := dns.IsDomainName(host)
	return dns.Fqdn(host), ok
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

// address answers with ip where the question asks for its kind, once.
func address(answer *dns.Msg, q dns.Question, ip netip.Addr, known bool) {
	ip = ip.Unmap().WithZone("")
	wanted := q.Qtype == dns.TypeANY || q.Qtype == dns.TypeA && ip.Is4() || q.Qtype == dns.TypeAAAA && ip.Is6()
	if !known || !wanted {
		return
	}
	added := record(q.Name, ip)
	if !slices.ContainsFunc(answer.Answer, func(rr dns.RR) bool { return dns.IsDuplicate(rr, added) }) {
		answer.Answer = append(answer.Answer, added)
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
