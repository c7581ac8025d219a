package workspace

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/container"
)

// containerUsage measures what containers use, by asking the engine.
type containerUsage struct {
	mu      sync.Mutex
	samples map[string]sample // by container
}

// fill sets CPU and memory of the instances that are containers. One that the
// engine does not tell of has none.
func (u *containerUsage) fill(ctx context.Context, e *container.Engine, instances []runtime.Instance) {
	u.mu.Lock()
	defer u.mu.Unlock()
	measured := make([]sample, len(instances))
	var group errgroup.Group
	group.SetLimit(8)
	for i, in := range instances {
		if in.ContainerID != "" {
			group.Go(func() error { measured[i] = u.measure(ctx, e, in); return nil })
		}
	}
	_ = group.Wait() // none fails
	seen := map[string]sample{}
	for i := range instances {
		if id := instances[i].ContainerID; id != "" {
			seen[id] = measured[i]
			instances[i].CPUPercent, instances[i].MemoryBytes = measured[i].percent, measured[i].memory
		}
	}
	u.samples = seen
}

func (u *containerUsage) measure(ctx context.Context, e *container.Engine, in runtime.Instance) sample {
	before, known := u.samples[in.ContainerID]
	if known && time.Since(before.at) < sampleAge {
		return before
	}
	used, err := e.Usage(ctx, in.ContainerID)
	if err != nil {
		return before
	}
	now := sample{at: time.Now(), cpu: used.CPU.Seconds(), memory: used.Memory}
	since := before.at
	if !known && in.StartedAt != nil {
		since = *in.StartedAt
	}
	if elapsed := now.at.Sub(since).Seconds(); elapsed > 0 {
		now.percent = max(0, (now.cpu-before.cpu)/elapsed*100)
	}
	return now
}
