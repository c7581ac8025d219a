package container

import (
	"context"
	"encoding/json"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Usage is what a container has used.
type Usage struct {
	CPU    time.Duration // since its start
	Memory int64         // bytes, without the cache that the kernel may take back
}

// Usage measures a container.
func (e *Engine) Usage(ctx context.Context, id string) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	found, err := e.api.ContainerStats(ctx, id, client.ContainerStatsOptions{})
	if err != nil {
		return Usage{}, e.explain(err)
	}
	defer found.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(found.Body).Decode(&s); err != nil {
		return Usage{}, err
	}
	cache := s.MemoryStats.Stats["inactive_file"] // cgroup v2
	if v1, ok := s.MemoryStats.Stats["total_inactive_file"]; ok {
		cache = v1
	}
	return Usage{CPU: time.Duration(s.CPUStats.CPUUsage.TotalUsage), Memory: int64(s.MemoryStats.Usage - min(cache, s.MemoryStats.Usage))}, nil
}
