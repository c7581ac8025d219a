// Package ownaddr tells the addresses of this machine from others.
package ownaddr

import (
	"net"
	"net/netip"
	"slices"
)

// Has reports whether an address is one of this machine's interfaces, now.
func Has(ip netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip.AsSlice())
	})
}
