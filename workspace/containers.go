package workspace

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/container"
)

// containers is what a workspace has once a container has joined: an engine, and
// ears on the bridge that they are on. A nil one is a workspace of processes.
type containers struct {
	*container.Engine
	serving *serving
	ears    []ear // for as long as there are containers
}

// SameDriver refuses another driver than this run has: everything would change.
func (w *Workspace) SameDriver(driver string) error {
	now := w.options.Driver
	if driver == "" || driver == now || now == "" && driver == "process" {
		return nil
	}
	return fmt.Errorf("mesh runs in this workspace without --driver %s: mesh down, then mesh up --driver %s", driver, driver)
}

// joins reports whether the first container is among services.
func (w *Workspace) joins(services []*manifest.Service) bool {
	return w.containers.Load() == nil && manifest.HasContainers(services)
}

// join connects to the engine, and has what services are told listen where
// containers reach it, when the first container is among services. An error
// changes nothing.
func (w *Workspace) join(ctx context.Context, services []*manifest.Service) error {
	w.joining.Lock()
	defer w.joining.Unlock()
	if !w.joins(services) {
		return nil
	}
	c, err := w.connect(ctx)
	if err != nil {
		return err
	}
	if err := w.bridge(c); err != nil {
		return errors.Join(err, w.closeContainers(c))
	}
	for _, e := range c.ears {
		w.serving.start(e.serve)
	}
	w.serving.start(func(ctx context.Context) error { return c.Watch(ctx, w.engineLost, w.engineBack) })
	return nil
}

func (w *Workspace) connect(ctx context.Context) (*containers, error) {
	m := w.Manifest()
	if err := SweepContainers(ctx, m.Dir); err != nil {
		return nil, err
	}
	if err := w.state.markContainers(w.options.Run); err != nil {
		return nil, err
	}
	owner := container.Owner{Workspace: m.Dir, Name: m.Name, State: w.state.Dir, Run: w.options.Run, Temporary: w.options.Outside}
	engine, err := container.Connect(ctx, owner, w.state.Subnet())
	if err != nil {
		return nil, err
	}
	c := &containers{Engine: engine, serving: w.serving}
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
	if s.Listens() {
		values["HOST"], values["PORT"] = "0.0.0.0", strconv.Itoa(c.Port(s))
	}
	more := s.MorePorts()
	for name := range s.Ports {
		number, ok := more[name]
		if !ok {
			number = s.FixedPort()
		}
		values[s.PortVariable(name)] = strconv.Itoa(number)
	}
}

// closeContainers removes the network with all that is on it.
func (w *Workspace) closeContainers(c *containers) error {
	if c == nil {
		return nil
	}
	for _, e := range c.ears {
		e.close() // closed already where it was served
	}
	defer c.Close()
	err := c.Remove(context.Background()) // teardown has a deadline of its own
	if err != nil {
		return fmt.Errorf("remove the containers: %w; the next mesh up or mesh down does", err)
	}
	return unmarkRun(w.state.Dir, w.options.Run)
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
