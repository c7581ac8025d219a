package runtime

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// slowBuilder takes a second for each build and writes down how it ended.
type slowBuilder struct{ ends []string }

func (b *slowBuilder) Build(ctx context.Context, services []*manifest.Service, report func(string, Artifact, error)) {
	select {
	case <-ctx.Done():
		b.ends = append(b.ends, "ended")
	case <-time.After(time.Second):
		b.ends = append(b.ends, "through")
		for _, s := range services {
			report(s.Name, Artifact{}, nil)
		}
	}
}

// TestABuildCommandIsEndedOnce: what it writes may be what asks for it again, so it
// is let finish then; what the compiler does is always begun anew.
func TestABuildCommandIsEndedOnce(t *testing.T) {
	for want, s := range map[string]*manifest.Service{
		"[ended through ended through]": {Name: "a", Build: manifest.Command{Shell: "make"}},
		"[ended ended ended through]":   {Name: "a", Go: "."},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &slowBuilder{}
			q := newBuildQueue(b, func(*manifest.Service, Artifact, error) {})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); q.run(ctx) }()
			for range 4 {
				q.request([]*manifest.Service{s}, false)
				time.Sleep(600 * time.Millisecond)
			}
			time.Sleep(5 * time.Second)
			cancel()
			<-ended
			if got := fmt.Sprint(b.ends); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// TestSteadySavesOfOneKeepNoOtherFromBeingBuilt: each ends the build under way.
func TestSteadySavesOfOneKeepNoOtherFromBeingBuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowBuilder{}
		built := map[string]int{}
		q := newBuildQueue(b, func(s *manifest.Service, _ Artifact, _ error) { built[s.Name]++ })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); q.run(ctx) }()
		q.request([]*manifest.Service{{Name: "a", Go: "."}}, false)
		for range 40 {
			time.Sleep(500 * time.Millisecond)
			q.request([]*manifest.Service{{Name: "b", Go: "."}}, false)
		}
		cancel()
		<-ended
		if built["a"] != 1 || built["b"] < 2 {
			t.Errorf("%v of %v", built, b.ends)
		}
	})
}
