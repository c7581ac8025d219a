package cli

import (
	"context"
	"slices"

	"github.com/shirou/gopsutil/v4/process"
)

// guard is the process that watches over a daemon. It ends a moment later, and has the
// workspace's folder open until then.
type guard struct{ *process.Process }

// guardOf finds the guard of a daemon; one that is not found is not waited for.
func guardOf(ctx context.Context, daemon int) guard {
	d, err := process.NewProcessWithContext(ctx, int32(daemon))
	if err != nil {
		return guard{}
	}
	parent, err := d.ParentWithContext(ctx)
	if err != nil || parent.Pid == 1 {
		return guard{}
	}
	return guard{parent}
}

// await waits until the guard has ended, or what has not is somebody else's matter.
func (g guard) await(ctx context.Context) {
	soon(ctx, func() bool { return g.Process == nil || !g.runs(ctx) })
}

// runs is false for one that only its parent has to hear of, too.
func (g guard) runs(ctx context.Context) bool {
	running, err := g.IsRunningWithContext(ctx)
	if err != nil || !running {
		return false
	}
	status, err := g.StatusWithContext(ctx)
	return err == nil && !slices.Contains(status, process.Zombie)
}
