package workspace

import (
	"context"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/ebef7166/mesh/runtime"
	tree "github.com/ebef7166/mesh/runtime/process"
)

// usage measures what instances use, when somebody asks.
type usage struct {
	mu      sync.Mutex
	samples map[int]sample // by pid

	inside containerUsage
}

type sample struct {
	at      time.Time
	cpu     float64 // seconds used since the start
	percent float64
	memory  int64
}

// sampleAge is how old a measurement may be before it is made anew: a share of a
// processor needs some time to be told.
const sampleAge = 500 * time.Millisecond

// fill sets CPU (percent of one core) and memory (bytes, resident) of instances,
// with their children.
func (u *usage) fill(ctx context.Context, instances []runtime.Instance) {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := map[int]sample{}
	for i := range instances {
		pid := instances[i].PID
		if pid == 0 || instances[i].ContainerID != "" {
			continue
		}
		s := u.measure(ctx, pid)
		seen[pid] = s
		instances[i].CPUPercent, instances[i].MemoryBytes = s.percent, s.memory
	}
	u.samples = seen
}

func (u *usage) measure(ctx context.Context, pid int) sample {
	before, known := u.samples[pid]
	if known && time.Since(before.at) < sampleAge {
		return before
	}
	now := sample{at: time.Now()}
	root, err := process.NewProcessWithContext(ctx, int32(pid))
	if err != nil {
		return now // it has ended
	}
	now.add(ctx, root)
	for _, pid := range tree.Descendants(pid) {
		if p, err := process.NewProcessWithContext(ctx, int32(pid)); err == nil {
			now.add(ctx, p)
		}
	}
	since := before.at
	if !known {
		if created, err := root.CreateTimeWithContext(ctx); err == nil {
			since = time.UnixMilli(created)
		}
	}
	if elapsed := now.at.Sub(since).Seconds(); elapsed > 0 {
		now.percent = max(0, (now.cpu-before.cpu)/elapsed*100)
	}
	return now
}

// add counts a process. One that has ended meanwhile, or that
// we may not look at, counts nothing.
func (s *sample) add(ctx context.Context, p *process.Process) {
	if times, err := p.TimesWithContext(ctx); err == nil {
		s.cpu += times.User + times.System
	}
	if memory, err := p.MemoryInfoWithContext(ctx); err == nil {
		s.memory += int64(memory.RSS)
	}
}

// Snapshot is the state of everything, with what it uses.
func (w *Workspace) Snapshot(ctx context.Context) runtime.Snapshot {
	s := w.supervisor.Snapshot()
	w.usage.fill(ctx, s.Instances)
	if c := w.containers.Load(); c != nil {
		w.usage.inside.fill(ctx, c.Engine, s.Instances)
	}
	return s
}
