package ownaddr

import (
	"net/netip"
	"testing"
)

func TestHas(t *testing.T) {
	for text, want := range map[string]bool{"127.0.0.1": true, "192.0.2.1": false, "2001:db8::1": false} { // RFC 5737, RFC 3849
		if got := Has(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
	if Has(netip.Addr{}) {
		t.Error("no address is ours")
	}
}
