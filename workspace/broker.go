package workspace

import (
	"context"
	"net"
	"strings"
	"sync"

	"github.com/ebef7166/mesh/devbroker"
)

// beginBroker has the broker start, which takes a while and needs no manifest, beside
// what comes next. admit waits for it.
func (w *Workspace) beginBroker() error {
	// The broker binds by itself; its port is reserved until just before.
	ln, err := w.keptListener("broker")
	if err != nil {
		return err
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		return err
	}
	w.urls["broker"] = "nats://" + address
	config := devbroker.Config{Dir: w.state.Path("data", "broker"), Addr: address, Logger: w.log.With("part", "broker")}
	w.brokerBegun = sync.OnceValue(func() (err error) {
		w.broker, err = devbroker.Start(config)
		return err
	})
	go w.brokerBegun()
	return nil
}

// admit tells the broker of its users, once it has started.
func (w *Workspace) admit(ctx context.Context) error {
	if err := w.brokerBegun(); err != nil {
		return err
	}
	return w.broker.Apply(ctx, w.brokerUsers())
}

// closeBroker shuts down a broker that was begun.
func (w *Workspace) closeBroker() {
	if w.brokerBegun != nil && w.brokerBegun() == nil {
		w.broker.Shutdown()
	}
	w.brokerBegun = nil
}

// brokerAddress is where the broker listens on this machine: host:port.
func (w *Workspace) brokerAddress() string { return strings.TrimPrefix(w.urls["broker"], "nats://") }

// hasPort reports whether the broker, which began before the manifest was read, takes
// the port of an address that the manifest fixes.
func (w *Workspace) hasPort(address string) bool {
	_, fixed, _ := net.SplitHostPort(address) // one that is none has no port
	_, taken, _ := net.SplitHostPort(w.brokerAddress())
	return fixed == taken
}
