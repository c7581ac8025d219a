package workspace

import (
	"cmp"
	"context"
	"net"
	"strconv"
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
	if err := unlisten(ln); err != nil {
		return err
	}
	w.urls["broker"] = "nats://" + address
	config := devbroker.Config{Dir: w.state.Path("data", "broker"), Addr: address, Logger: w.log.With("part", "broker")}
	begun := sync.OnceValue(func() (err error) {
		// It looks whether it can have its port before it listens there.
		if err := w.processes.AwaitReady(); err != nil {
			return err
		}
		w.broker, err = devbroker.Start(config)
		return err
	})
	w.brokerBegun = begun
	go func() { _ = begun() }() // admit tells how it went
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

// fixPorts leaves the ports that the manifest fixes to whom it gives them. The broker
// began before they were known: where it has one of them, it begins anew at another.
func (w *Workspace) fixPorts() error {
	fixed := map[int]bool{}
	if !w.options.Isolated {
		fixed[portOf(cmp.Or(w.options.Gateway, w.manifest.Gateway.Address))] = true
		for _, s := range w.selected {
			if s.KeepsPort() {
				fixed[s.Port] = true
			}
		}
	}
	w.state.Fix(fixed)
	if !fixed[portOf(w.brokerAddress())] {
		return nil
	}
	w.closeBroker()
	return w.beginBroker()
}

// portOf is the port of an address; 0 where it has none.
func portOf(address string) int {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	return port
}
