package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/term"

	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/container"
)

// inContainer is the instance of a container service that a command is to run
// in: one that takes traffic, if there is any.
func inContainer(instances []runtime.Instance) *runtime.Instance {
	i := slices.IndexFunc(instances, func(i runtime.Instance) bool { return i.Driver == "container" && i.State == runtime.Healthy })
	if i < 0 {
		i = slices.IndexFunc(instances, func(i runtime.Instance) bool { return i.Driver == "container" && i.ContainerID != "" })
	}
	if i < 0 {
		i = slices.IndexFunc(instances, func(i runtime.Instance) bool { return i.Driver == "container" })
	}
	if i < 0 {
		return nil
	}
	return &instances[i]
}

// execInside runs a command in a container, on a terminal where mesh is on one.
func execInside(ctx context.Context, d *deps, in runtime.Instance, argv []string) error {
	if in.ContainerID == "" {
		return withNext(fmt.Errorf("%s has no container that runs: it is %s", in.Service, in.State), "mesh why "+in.Service)
	}
	s := container.Streams{In: d.streams.In, Out: d.streams.Out, Err: d.streams.Err}
	if terminal, ok := d.streams.In.(*os.File); ok && d.streams.interactive() {
		was, err := term.MakeRaw(int(terminal.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(terminal.Fd()), was) }() // the shell does the same
		s.Terminal = true
		s.Size = func() (w, h int) {
			w, h, err := term.GetSize(int(terminal.Fd()))
			if err != nil {
				return 0, 0
			}
			return w, h
		}
	}
	code, err := container.Exec(ctx, in.ContainerID, argv, s)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, container.ErrNoProgram):
		return &failure{err: fmt.Errorf("%s: no such program in the container of %s", argv[0], in.Service), code: 127}
	case err != nil:
		return err
	case code != 0:
		return silent(code)
	}
	return nil
}
