package devregistry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// asked is the answer to a question, as it goes out.
func asked(t *testing.T, r *Registry, overUDP bool, name string, kind uint16, change func(*dns.Msg)) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	if change != nil {
		change(q)
	}
	packet, err := r.reply(q, overUDP).Pack()
	if err != nil {
		t.Fatal(err)
	}
	answer := new(dns.Msg)
	if err := answer.Unpack(packet); err != nil {
		t.Fatal(err)
	}
	return answer
}

func records(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		text, _ := strings.CutPrefix(rr.String(), rr.Header().String())
		out = append(out, fmt.Sprintf("%s %s %s", rr.Header().Name, dns.TypeToString[rr.Header().Rrtype], strings.ReplaceAll(text, "\t", " ")))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestNames(t *testing.T) {
	r := fresh(t)
	r.Register(Instance{ID: "web-1", Service: "web", Address: "127.0.0.1", Port: 8001, Tags: []string{"v1.2", "Blue"}})
	r.Register(Instance{ID: "web-2", Service: "web", Address: "::1", Port: 8002})
	r.Register(Instance{ID: "own-1", Service: "own", Port: 8003})
	r.Register(Instance{ID: "named-1", Service: "named", Address: "db.example.test", Port: 8004})
	r.Register(Instance{ID: "Mixed-1", Service: "MixedCase", Address: "127.0.0.3", Port: 8005})
	r.Register(Instance{ID: "odd-1", Service: "odd", Address: strings.Repeat("x", 64), Port: 1})
	r.Register(Instance{ID: "mapped-1", Service: "mapped", Address: "::ffff:127.0.0.9", Port: 8005})
	r.Register(Instance{ID: "node-1", Service: "node", Address: "127.0.0.4", Port: 1})
	for _, tt := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string
	}{
		{"web.service.consul.", dns.TypeA, 0, "web.service.consul. A 127.0.0.1"},
		{"web.service.consul.", dns.TypeAAAA, 0, "web.service.consul. AAAA ::1"},
		{"web.service.consul.", dns.TypeANY, 0, "web.service.consul. A 127.0.0.1; web.service.consul. AAAA ::1"},
		{"WeB.sErViCe.dC1.CONSUL.", dns.TypeA, 0, "WeB.sErViCe.dC1.CONSUL. A 127.0.0.1"},
		{"mixedcase.service.consul.", dns.TypeA, 0, "mixedcase.service.consul. A 127.0.0.3"},
		{"blue.web.service.consul.", dns.TypeSRV, 0, "blue.web.service.consul. SRV 1 1 8001 7f000001.addr.dc1.consul."},
		{"v1.2.web.service.consul.", dns.TypeA, 0, "v1.2.web.service.consul. A 127.0.0.1"},
		{"_web._blue.service.consul.", dns.TypeSRV, 0, "_web._blue.service.consul. SRV 1 1 8001 7f000001.addr.dc1.consul."},
		{"_web._blue.consul.", dns.TypeSRV, 0, "_web._blue.consul. SRV 1 1 8001 7f000001.addr.dc1.consul."},
		{"_own._tcp.service.consul.", dns.TypeSRV, 0, "_own._tcp.service.consul. SRV 1 1 8003 7f000001.addr.dc1.consul."},
		{"named.service.consul.", dns.TypeA, 0, "named.service.consul. CNAME db.example.test."},
		{"named.service.consul.", dns.TypeSRV, 0, "named.service.consul. SRV 1 1 8004 db.example.test."},
		{"mapped.service.consul.", dns.TypeA, 0, "mapped.service.consul. A 127.0.0.9"},
		{"mapped.service.consul.", dns.TypeSRV, 0, "mapped.service.consul. SRV 1 1 8005 7f000009.addr.dc1.consul."},
		{"odd.service.consul.", dns.TypeA, 0, ""},
		{"00000000000000000000000000000001.addr.consul.", dns.TypeAAAA, 0, "00000000000000000000000000000001.addr.consul. AAAA ::1"},
		{"mesh.node.consul.", dns.TypeA, 0, "mesh.node.consul. A 127.0.0.1"},
		{"mesh.node.consul.", dns.TypeAAAA, 0, ""},
		{"node.service.consul.", dns.TypeA, 0, "node.service.consul. A 127.0.0.4"},
		{"consul.", dns.TypeNS, 0, "consul. NS mesh.node.consul."},
		{"consul.", dns.TypeA, 0, ""},
		{"web.service.consul.", dns.TypeTXT, 0, ""},
		{"web.service.dc2.consul.", dns.TypeA, dns.RcodeNameError, ""},
		{"green.web.service.consul.", dns.TypeA, dns.RcodeNameError, ""},
		{"service.consul.", dns.TypeA, dns.RcodeNameError, ""},
		{"node.consul.", dns.TypeA, dns.RcodeNameError, ""},
		{"other.node.consul.", dns.TypeA, dns.RcodeNameError, ""},
		{"7f0001.addr.consul.", dns.TypeA, dns.RcodeNameError, ""},
		{"notconsul.", dns.TypeA, dns.RcodeRefused, ""},
		{"web.service.consul.example.", dns.TypeA, dns.RcodeRefused, ""},
		{".", dns.TypeNS, dns.RcodeRefused, ""},
	} {
		got := asked(t, r, true, tt.name, tt.kind, nil)
		if got.Rcode != tt.rcode || records(got.Answer) != tt.want {
			t.Errorf("%s %s: %s %q, want %s %q", tt.name, dns.TypeToString[tt.kind], dns.RcodeToString[got.Rcode], records(got.Answer), dns.RcodeToString[tt.rcode], tt.want)
		}
		if inside := tt.rcode != dns.RcodeRefused; got.Authoritative != inside || (len(got.Ns) == 1) != (inside && tt.want == "") {
			t.Errorf("%s: authoritative %v, authority %v", tt.name, got.Authoritative, got.Ns)
		}
		for _, rr := range slices.Concat(got.Answer, got.Ns, got.Extra) {
			if rr.Header().Ttl != 0 {
				t.Errorf("%s may be kept for %d s", tt.name, rr.Header().Ttl)
			}
		}
	}
}

func TestWarningsHaveAWeightOfTheirOwn(t *testing.T) {
	r := fresh(t)
	for id, status := range map[string]string{"fine": "passing", "tired": "warning", "ill": "critical"} {
		body := fmt.Sprintf(`{"ID":%q,"Name":"web","Port":80,"Weights":{"Passing":7,"Warning":3},"Check":{"TTL":"1h","Status":%q}}`, id, status)
		r.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/v1/agent/service/register", strings.NewReader(body)))
	}
	got := records(asked(t, r, true, "web.service.consul.", dns.TypeSRV, nil).Answer)
	if got != "web.service.consul. SRV 1 3 80 7f000001.addr.dc1.consul.; web.service.consul. SRV 1 7 80 7f000001.addr.dc1.consul." {
		t.Error(got)
	}
}

func TestPackets(t *testing.T) {
	r := fresh(t)
	for i := range 200 {
		r.Register(Instance{ID: fmt.Sprint("web-", i), Service: "web", Address: fmt.Sprintf("127.0.1.%d", i), Port: 1 + i})
	}
	for _, tt := range []struct {
		overUDP   bool
		options   uint16 // EDNS0's size, 0 without
		truncated bool
		most      int
	}{
		{true, 0, true, dns.MinMsgSize}, {true, 100, true, dns.MinMsgSize}, {true, 1232, true, 1232}, {true, 65535, false, 65535}, {false, 0, false, 65535},
	} {
		got := asked(t, r, tt.overUDP, "web.service.consul.", dns.TypeSRV, func(q *dns.Msg) {
			if tt.options > 0 {
				q.SetEdns0(tt.options, false)
			}
		})
		got.Compress = true // as it was sent
		if got.Truncated != tt.truncated || got.Len() > tt.most || !tt.truncated && len(got.Answer) != 200 || (got.IsEdns0() != nil) != (tt.options > 0) {
			t.Errorf("%+v: truncated %v, %d bytes, %d answers, options %v", tt, got.Truncated, got.Len(), len(got.Answer), got.IsEdns0())
		}
	}
	for rcode, change := range map[int]func(*dns.Msg){
		dns.RcodeNotImplemented: func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate },
		dns.RcodeFormatError:    func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) },
		dns.RcodeBadVers:        func(q *dns.Msg) { q.SetEdns0(1232, false); q.IsEdns0().SetVersion(1) },
		dns.RcodeRefused:        func(q *dns.Msg) { q.Question[0].Qclass = dns.ClassCHAOS },
	} {
		if got := asked(t, r, true, "web.service.consul.", dns.TypeA, change); got.Rcode != rcode || len(got.Answer) > 0 {
			t.Errorf("%s, want %s", dns.RcodeToString[got.Rcode], dns.RcodeToString[rcode])
		}
	}
}

// TestAliasStandsAlone: beside a CNAME a name has no other record, of no kind.
func TestAliasStandsAlone(t *testing.T) {
	r := fresh(t)
	r.Register(Instance{ID: "m1", Service: "mixed", Port: 1, Address: "host.example.test"})
	r.Register(Instance{ID: "m2", Service: "mixed", Port: 2, Address: "10.0.0.2"})
	for range 40 { // they are told in random order
		for kind, want := range map[uint16]int{dns.TypeA: 1, dns.TypeAAAA: 0, dns.TypeANY: 1} {
			answer := new(dns.Msg)
			r.resolve(answer, dns.Question{Name: "mixed.service.consul.", Qtype: kind, Qclass: dns.ClassINET})
			if len(answer.Answer) != want || want > 0 && answer.Answer[0].Header().Rrtype != dns.TypeA {
				t.Fatalf("%s: %v", dns.TypeToString[kind], answer.Answer)
			}
		}
	}
}
