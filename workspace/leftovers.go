package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ebef7166/mesh/runtime/container"
)

// What may be left at the engine is marked in the state folder, so that nobody
// asks an engine for nothing.

func marker(state string) string { return (&State{Dir: state}).Path("run", "containers") }

func (s *State) markContainers(run string) error {
	return os.WriteFile(marker(s.Dir), []byte(run), 0o600)
}

// unmark says that nothing is left. Somebody else may have said so.
func unmark(state string) error {
	if err := os.Remove(marker(state)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (w *Workspace) sweepMarked(ctx context.Context) error {
	if !MayHaveLeft(w.state.Dir) {
		return nil
	}
	err := container.SweepState(ctx, w.state.Dir)
	if err == nil {
		return unmark(w.state.Dir)
	}
	w.log.Warn("what an earlier mesh left at the engine is still there: " + err.Error())
	return nil
}

// SweepRun removes what a daemon that has died left at the engine; its guard
// calls it.
func SweepRun(ctx context.Context, state, run string) error {
	if run == "" || markedBy(state) != run {
		return nil // it had none or has removed them itself, or a newer one has
	}
	if err := container.SweepRun(ctx, run); err != nil {
		return err
	}
	return unmarkRun(state, run)
}

// unmarkRun says that nothing of a run is left: what a newer one has marked meanwhile
// is its own.
func unmarkRun(state, run string) error {
	if markedBy(state) != run {
		return nil
	}
	return unmark(state)
}

// SweepContainers removes what earlier runs of a workspace left at the engine,
// of each copy of it whose mesh does not live any more.
func SweepContainers(ctx context.Context, dir string) error {
	return container.Sweep(ctx, dir, Alive)
}

func markedBy(state string) string {
	run, err := os.ReadFile(marker(state))
	if err != nil {
		return ""
	}
	return string(run)
}

// MayHaveLeft reports whether a run of this state folder may have left something
// at the engine.
func MayHaveLeft(state string) bool {
	_, err := os.Stat(marker(state))
	return err == nil
}

// SweepAfterDeath does what SweepContainers does. Where nothing can have been
// left, an engine that does not answer is no error.
func SweepAfterDeath(ctx context.Context, dir, state string) error {
	left := MayHaveLeft(state)
	quick, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := SweepContainers(quick, dir)
	switch {
	case err != nil && left:
		return fmt.Errorf("containers may be left: %w; mesh down again, once it answers", err)
	case left && !Alive(state):
		return unmark(state)
	}
	return nil
}
