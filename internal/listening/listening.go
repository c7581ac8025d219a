// Package listening asks the kernel whether a program listens at an address of this
// machine. That takes a tenth of what a connection takes that is refused, and a program
// that listens is not woken for it.
package listening

import "net/netip"

// At reports whether a TCP connection to an address of IPv4's loopback would be
// accepted by a program. It is not known of other addresses, nor where the kernel
// does not tell.
func At(addr netip.AddrPort) (listens, known bool) {
	if !addr.Addr().Is4() || !addr.Addr().IsLoopback() {
		return false, false
	}
	return at(addr)
}
