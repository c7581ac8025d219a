package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/container"
)

// containers is what a workspace has while there may be containers: an engine,
// and an ear on the bridge that they are on. A nil one is a workspace of
// processes.
type containers struct {
	*container.Engine
	relays []relayed // for what listens on loopback alone
}

type relayed struct {
	ln net.Listener
	to string
}

// errProcessesOnly is why a container cannot join.
var errProcessesOnly = errors.New("this run of mesh began without containers, and the addresses that services are told would change: mesh down, then mesh up")

// SameDriver refuses another driver than this run has: everything would change.
func (w *Workspace) SameDriver(driver string) error {
	now := w.options.Driver
	if driver == "" || driver == now || now == "" && driver == "process" {
		return nil
	}
	return fmt.Errorf("mesh runs in this workspace without --driver %s: mesh down, then mesh up --driver %s", driver, driver)
}

// openContainers finds the engine and makes the workspace's network when the
// manifest has containers, whether this run selects them or not: they may be
// added later. Without an engine only a run that needs none goes on.
func (w *Workspace) openContainers(ctx context.Context) error {
	if !manifest.HasContainers(w.manifest.Services) {
		return w.sweepMarked(ctx)
	}
	c, err := w.connect(ctx)
	switch {
	case err == nil:
		w.containers = c
	case manifest.HasContainers(w.selected):
		return err
	default:
		w.log.Info("there can be no containers in this run: " + err.Error())
	}
	return nil
}

func (w *Workspace) connect(ctx context.Context) (*containers, error) {
	if err := SweepContainers(ctx, w.manifest.Dir); err != nil {
		return nil, err
	}
	if err := w.state.markContainers(w.options.Run); err != nil {
		return nil, err
	}
	owner := container.Owner{Workspace: w.manifest.Dir, Name: w.manifest.Name, State: w.state.Dir, Run: w.options.Run, Temporary: w.options.Outside}
	engine, err := container.Connect(ctx, owner, w.state.Subnet())
	if err != nil {
		return nil, err
	}
	c := &containers{Engine: engine}
	err = w.state.keepSubnet(engine.Bridge().Subnet.String())
	if err == nil {
		err = c.near()
	}
	if err != nil {
		return nil, errors.Join(err, w.closeContainers(c))
	}
	return c, nil
}

func (w *Workspace) engineLost(err error) {
	w.log.Warn(err.Error() + "; containers are out of reach until it is back")
}

// engineBack builds what could not be built meanwhile.
func (w *Workspace) engineBack() {
	w.log.Warn("the Docker engine is back")
	var names []string
	for _, s := range w.running() {
		if s.Container() {
			names = append(names, s.Name)
		}
	}
	_ = w.supervisor.Rebuild(names...) // one that was removed meanwhile needs none
}

// inside lays over a container's environment what is different there.
func (c *containers) inside(s *manifest.Service, values map[string]string) {
	if c == nil {
		return
	}
	if s.Listens() {
		values["HOST"], values["PORT"] = "0.0.0.0", strconv.Itoa(c.Port(s))
	}
	more := s.MorePorts()
	for name, port := range s.Ports {
		number, ok := more[name]
		if !ok {
			number = s.FixedPort()
		}
		variable := port.Variable
		if variable == "" {
			variable = manifest.EnvName(name) + "_PORT"
		}
		values[variable] = strconv.Itoa(number)
	}
}

// closeContainers removes the network with all that is on it.
func (w *Workspace) closeContainers(c *containers) error {
	if c == nil {
		return nil
	}
	for _, r := range c.relays {
		r.ln.Close() // closed already where it was served
	}
	defer c.Close()
	err := c.Remove(context.Background()) // teardown has a deadline of its own
	if err != nil {
		return fmt.Errorf("remove the containers: %w; the next mesh up or mesh down does", err)
	}
	return unmark(w.state.Dir)
}

// Subnet of the last run's bridge.
func (s *State) Subnet() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.Subnet
}

func (s *State) keepSubnet(subnet string) error {
	s.mu.Lock()
	s.dirty = s.dirty || s.kept.Subnet != subnet
	s.kept.Subnet = subnet
	s.mu.Unlock()
	return s.Save()
}
