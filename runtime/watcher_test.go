package runtime

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ebef7166/mesh/internal/listening"
	"github.com/ebef7166/mesh/manifest"
)

// TestReadinessTakesTheKernelsWord while a program begins, and no longer: what is
// reached by a rule of the firewall listens nowhere that the kernel would tell of.
func TestReadinessTakesTheKernelsWord(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listens := ln.Addr().String()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := gone.Addr().String()
	gone.Close()
	defer ln.Close()
	if _, known := listening.At(netip.MustParseAddrPort(listens)); !known {
		t.Skip("this kernel does not tell")
	}
	health := func(p manifest.Probe) *manifest.Service { return &manifest.Service{Health: &p} }
	for name, c := range map[string]struct {
		service *manifest.Service
		state   State
		age     time.Duration
		address string
		asked   bool
	}{
		"nobody listens yet":    {&manifest.Service{}, Starting, 0, silent, false},
		"the same, with health": {health(manifest.Probe{HTTP: "/"}), Starting, 0, silent, false},
		"somebody listens":      {&manifest.Service{}, Starting, 0, listens, true},
		"it has had its time":   {&manifest.Service{}, Starting, 2 * quickFor, silent, true},
		"it was healthy":        {&manifest.Service{}, Healthy, 0, silent, true},
		"a command":             {health(manifest.Probe{Command: manifest.Command{Args: []string{"true"}}}), Starting, 0, silent, true},
		"a container":           {&manifest.Service{Driver: "container"}, Starting, 0, silent, true},
		"another machine":       {&manifest.Service{}, Starting, 0, "db.example:5432", true},
	} {
		asked := false
		w := &watcher{instance: &instance{service: c.service, view: Instance{State: c.state, Address: c.address}}, begun: time.Now().Add(-c.age),
			probe: func(context.Context) error { asked = true; return nil }}
		err := w.readiness()(t.Context())
		if asked != c.asked || asked == (err != nil) {
			t.Errorf("%s: asked: %v, %v", name, asked, err)
		}
	}
}

// TestPortProbe: with or without the kernel's word.
func TestPortProbe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := portProbe(ln.Addr().String())(t.Context()); err != nil {
		t.Error(err)
	}
	if err := portProbe(refuses)(t.Context()); err == nil || err.Error() != "nothing listens on "+refuses {
		t.Errorf("%v", err)
	}
}
