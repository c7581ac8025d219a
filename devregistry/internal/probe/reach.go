package probe

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// Reach is which addresses a check may be sent to, because whoever registers one
// makes the registry send a request and reads part of the answer: without a bound,
// a page, a container or a mistake could have it read cloud metadata or another
// machine of the network. It is held at the moment of connecting, so a name that
// resolves elsewhere, now or later, and a redirect are held too.
type Reach []netip.Prefix

// Loopback is this machine alone.
func Loopback() Reach {
	return Reach{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Allows reports whether a check may be sent to an address.
func (r Reach) Allows(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(r, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Refuse says why an address cannot be checked, or returns nil. A name is not
// looked up: where it leads is seen when the check is made.
func (r Reach) Refuse(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil && !r.Allows(ip) {
		return r.refusal(host)
	}
	return nil
}

func (r Reach) refusal(host string) error {
	return fmt.Errorf("%s is out of reach: checks asked for from here may only be sent to %v", host, r)
}

func (r Reach) dialer() *net.Dialer {
	return &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if !r.Allows(to.Addr()) {
			return r.refusal(to.Addr().String())
		}
		return nil
	}}
}
