package cli

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ebef7166/mesh/workspace"
)

// copies are below the state folder of the workspace: a number each, with ports
// and data of its own.
func (p place) copies() string { return filepath.Join(p.dir, workspace.StateDir, "copies") }

// isCopy reports whether the state folder is one of an isolated copy.
func (p place) isCopy() bool { return filepath.Dir(p.state) == p.copies() }

// freeCopy is the place of the first copy that does not run. One that ran before
// goes on with its data, as the workspace itself does.
func (p place) freeCopy() place {
	for n := 1; ; n++ {
		p.state = filepath.Join(p.copies(), strconv.Itoa(n))
		if _, err := os.Stat(p.state); err != nil || !workspace.Alive(p.state) {
			return p
		}
	}
}

// mentionCopies says which copies still run when the workspace itself does not:
// they are easily forgotten.
func (d *deps) mentionCopies(p place) {
	folders, err := filepath.Glob(filepath.Join(p.copies(), "*"))
	if err != nil || p.isCopy() {
		return
	}
	for _, state := range folders {
		if workspace.Alive(state) {
			d.say("Copy " + filepath.Base(state) + " runs on; MESH_STATE=" + pasted(state) + " mesh down stops it.")
		}
	}
}

// awaitEnd waits until the state folder of a daemon that answers no more is free,
// so that whoever comes next takes it; not for long, since somebody else may have
// taken it already.
func (p place) awaitEnd(ctx context.Context) {
	soon(ctx, func() bool { return !workspace.Alive(p.state) })
}

// soon waits until something is done that only takes a moment, for 2 s at most.
func soon(ctx context.Context, done func() bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// mentionCopy says how the copy is reached, which nothing but its state folder
// tells from the others.
func (d *deps) mentionCopy(p place) {
	d.say("Copy " + filepath.Base(p.state) + " of the workspace, with ports and data of its own. The other commands reach it with\n  export MESH_STATE=" + pasted(p.state) +
		"\nmesh down stops it then, and mesh down --volumes also removes it.")
}
