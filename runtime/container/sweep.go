package container

import (
	"context"
	"errors"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
)

// Bounds of a removal: how many containers at once, how long an engine may take
// for all of it, and how long a request that a dead mesh had under way may still
// bring a container about.
const (
	sweepWidth    = 16
	sweepPatience = 30 * time.Second
	lateCreation  = 300 * time.Millisecond
)

func filter(label, value string) client.Filters {
	return client.Filters{}.Add("label", label+"="+value)
}

// SweepRun removes the containers and the network of one daemon that has died.
// A newer one of the same workspace is not touched.
func SweepRun(ctx context.Context, run string) error {
	return atEngine(ctx, func(ctx context.Context, e *Engine) error {
		// Again until there is nothing: the engine may have been about to make one.
		for found := 1; found > 0; {
			var err error
			if found, err = e.sweepContainers(ctx, filter(labelRun, run)); err != nil {
				return e.explain(err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(lateCreation):
			}
		}
		return e.explain(e.sweep(ctx, filter(labelRun, run)))
	})
}

// SweepState removes the containers and the network of one state folder.
func SweepState(ctx context.Context, state string) error {
	return atEngine(ctx, func(ctx context.Context, e *Engine) error {
		return e.explain(e.sweep(ctx, filter(labelState, state)))
	})
}

// Sweep removes what earlier runs of a workspace left, whose mesh does not live
// any more, by label. alive tells it of a state folder.
func Sweep(ctx context.Context, workspace string, alive func(state string) bool) error {
	return atEngine(ctx, func(ctx context.Context, e *Engine) error {
		states, err := e.states(ctx, workspace)
		if err != nil {
			return e.explain(err)
		}
		var failed []error
		for state := range states {
			if !alive(state) {
				failed = append(failed, e.explain(e.sweep(ctx, filter(labelState, state))))
			}
		}
		return errors.Join(failed...)
	})
}

// RemoveVolumes removes the named volumes of a state folder, and all they hold.
func RemoveVolumes(ctx context.Context, state string) error {
	return atEngine(ctx, func(ctx context.Context, e *Engine) error {
		found, err := e.api.VolumeList(ctx, client.VolumeListOptions{Filters: filter(labelState, state)})
		if err != nil {
			return e.explain(err)
		}
		var failed []error
		for _, v := range found.Items {
			if _, err := e.api.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true}); err != nil && !missing(err) {
				failed = append(failed, e.explain(err))
			}
		}
		return errors.Join(failed...)
	})
}

// atEngine does some removing at the engine, which has no workspace then.
func atEngine(ctx context.Context, remove func(context.Context, *Engine) error) error {
	api, err := dial()
	if err != nil {
		return err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	return remove(ctx, &Engine{api: api})
}

// states are the state folders that a workspace's containers and networks name.
func (e *Engine) states(ctx context.Context, workspace string) (map[string]bool, error) {
	states := map[string]bool{}
	containers, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter(labelWorkspace, workspace)})
	if err != nil {
		return nil, err
	}
	for _, c := range containers.Items {
		states[c.Labels[labelState]] = true
	}
	networks, err := e.api.NetworkList(ctx, client.NetworkListOptions{Filters: filter(labelWorkspace, workspace)})
	if err != nil {
		return nil, err
	}
	for _, n := range networks.Items {
		states[n.Labels[labelState]] = true
	}
	delete(states, "")
	return states, nil
}

// Remove removes the network and whatever container is left on it.
func (e *Engine) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepPatience)
	defer cancel()
	err := e.sweep(ctx, filter(labelRun, e.owner.Run))
	if e.owner.Temporary && err == nil {
		e.dropLoaded(ctx)
	}
	return e.explain(err)
}

// sweep removes containers, and then the networks that they were on.
func (e *Engine) sweep(ctx context.Context, which client.Filters) error {
	for {
		found, err := e.sweepContainers(ctx, which)
		if err != nil {
			return err
		}
		if found == 0 {
			break
		}
	}
	networks, err := e.api.NetworkList(ctx, client.NetworkListOptions{Filters: which})
	if err != nil {
		return err
	}
	var failed []error
	for _, n := range networks.Items {
		if _, err := e.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil && !missing(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (e *Engine) list(ctx context.Context, which client.Filters) ([]string, error) {
	found, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: which})
	ids := make([]string, len(found.Items))
	for i, c := range found.Items {
		ids[i] = c.ID
	}
	return ids, err
}

// sweepContainers removes the containers that there are, and says how many.
func (e *Engine) sweepContainers(ctx context.Context, which client.Filters) (int, error) {
	ids, err := e.list(ctx, which)
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sweepWidth)
	for _, id := range ids {
		group.Go(func() error { return e.remove(ctx, id) })
	}
	return len(ids), group.Wait()
}

// remove kills and removes a container with its nameless volumes. One that is
// being removed already is waited for.
func (e *Engine) remove(ctx context.Context, id string) error {
	for {
		_, err := e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err == nil || missing(err) {
			return nil
		}
		if !beingRemoved(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); missing(err) {
			return nil
		}
	}
}
