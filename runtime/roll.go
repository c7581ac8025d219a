package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// roll replaces the instances of a unit by those of the wanted generation.
type roll struct {
	*unit
	ctx context.Context // instances live under it
	wg  *sync.WaitGroup
}

// roll starts the new before it stops the old, one by one, and keeps the old
// when the new does not become healthy. With reload: replace, or with nothing
// healthy to keep, the old ones are stopped first.
func (r *roll) roll(work context.Context) {
	stale := r.stale()
	var keep, drop []*instance
	for _, in := range stale {
		if in.stopped() && !r.alone() {
			continue // it drains, and nothing has to wait for that
		}
		if r.alone() || !in.serving() {
			drop = append(drop, in)
		} else {
			keep = append(keep, in)
		}
	}
	if len(keep) > 0 && r.rejected == r.generation() {
		r.hold(work, keep[0].gen) // tried already; the old ones serve on
		return
	}
	if r.alone() {
		drop = append(drop, r.leaving()...)
	}
	r.stopEach(work, drop)
	if work.Err() != nil {
		return
	}
	r.sweep()
	if len(keep) == 0 {
		r.fill()
		r.trim(work)
		r.clear(work)
		return
	}
	r.swap(work, keep)
}

// alone reports that an instance must have ended before the next one begins. What
// runs elsewhere is waited for there, however long it takes.
func (r *roll) alone() bool {
	return r.service.Reload == "replace" || r.service.Kind == manifest.KindTask || r.service.External()
}

// serving reports whether the instance has been healthy and still runs.
func (in *instance) serving() bool {
	select {
	case <-in.done:
		return false
	default:
	}
	select {
	case <-in.ready:
		return !in.stopped()
	default:
		return false
	}
}

func (r *roll) stale() []*instance {
	var stale []*instance
	for _, n := range r.numbers() {
		if in := r.instances[n]; in.gen != r.generation() {
			stale = append(stale, in)
		}
	}
	return stale
}

func (r *roll) numbers() []int {
	var numbers []int
	for n := range r.instances {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// leaving are instances of the wanted generation that were told to stop, by a scale
// that does not hold any more.
func (r *roll) leaving() []*instance {
	var leaving []*instance
	for _, in := range r.instances {
		if in.gen == r.generation() && in.stopped() {
			leaving = append(leaving, in)
		}
	}
	return leaving
}

// clear stops what is of another generation, and waits for what leaves: who drains is
// swept when it has ended.
func (r *roll) clear(work context.Context) {
	r.stopEach(work, append(r.stale(), r.leaving()...))
}

// fresh counts instances of the wanted generation that are to run, those that have ended
// by themselves too: they are not started again.
func (r *roll) fresh() int { return len(r.instances) - len(r.stale()) - len(r.leaving()) }

// fill starts what is missing, all at once.
func (r *roll) fill() {
	for r.fresh() < r.replicas {
		r.launch()
	}
}

// trim stops what is too much, the newest first.
func (r *roll) trim(work context.Context) {
	var extra []*instance
	numbers := r.numbers()
	for i := len(numbers) - 1; i >= 0 && r.fresh()-len(extra) > r.replicas; i-- {
		if in := r.instances[numbers[i]]; in.gen == r.generation() && !in.stopped() {
			extra = append(extra, in)
		}
	}
	r.stopEach(work, extra)
}

// hold brings the instances of a generation that serves on, since the newest one did
// not become healthy, to as many as are wanted beside those of the newest that did.
func (r *roll) hold(work context.Context, gen generation) {
	var held, leaving []*instance
	for _, in := range r.stale() {
		switch {
		case in.stopped():
			leaving = append(leaving, in)
		case in.gen == gen:
			held = append(held, in)
		}
	}
	for n := len(held) + r.fresh(); n < r.replicas; n++ {
		r.launchAs(held[0].service, held[0].artifact, gen)
	}
	if extra := len(held) + r.fresh() - r.replicas; extra > 0 {
		leaving = append(leaving, held[max(0, len(held)-extra):]...)
	}
	r.stopEach(work, leaving)
}

// launch starts an instance of the wanted generation.
func (r *roll) launch() *instance { return r.launchAs(r.service, *r.artifact, r.generation()) }

// launchAs starts an instance under the lowest number that is free.
func (r *roll) launchAs(service *manifest.Service, artifact Artifact, gen generation) *instance {
	n := 1
	for r.instances[n] != nil {
		n++
	}
	in := newInstance(r.sup, service, r.id(n), artifact, gen)
	r.instances[n] = in
	r.begun.Store(true)
	// At once: whoever looks between the old one and this must see that there will
	// be one.
	r.sup.table.set(in.view)
	r.wg.Go(func() { in.run(r.ctx) })
	return in
}

func (r *roll) swap(work context.Context, old []*instance) {
	for len(old) > 0 {
		in := r.unready() // one of a swap that was interrupted
		if in == nil && r.fresh() >= r.replicas {
			break
		}
		if in == nil {
			in = r.launch()
		}
		if reason := r.awaitReady(work, in); reason != "" {
			r.reject(work, in, reason)
			r.hold(work, old[0].gen) // as many as were asked for meanwhile
			return
		}
		if work.Err() != nil {
			return
		}
		old[0].stop(true)
		old = old[1:]
	}
	r.fill()
	r.clear(work)
}

// unready is an instance of the wanted generation that has not been healthy yet; nil:
// there is none.
func (r *roll) unready() *instance {
	for _, n := range r.numbers() {
		in := r.instances[n]
		if in.gen != r.generation() || in.stopped() {
			continue
		}
		select {
		case <-in.ready:
		default:
			return in
		}
	}
	return nil
}

// awaitReady returns why the instance did not become healthy, or "" when it did
// or work ended.
func (r *roll) awaitReady(work context.Context, in *instance) string {
	late := time.NewTimer(swapPatience)
	defer late.Stop()
	trouble := make(chan string, 1)
	watching, stop := context.WithCancel(work)
	defer stop()
	r.wg.Go(func() {
		_ = r.sup.table.await(watching, []string{r.name}, func(s Snapshot) bool {
			for _, i := range s.Instances {
				if i.Instance == in.id && (i.Restarts > 0 || i.State == Backoff || i.State == Failed) {
					reason, _, _ := strings.Cut(i.Reason, againIn) // it will not start again
					trouble <- reason
					return true
				}
			}
			return false
		})
	})
	select {
	case <-in.ready:
	case <-work.Done():
	case reason := <-trouble:
		return reason
	case <-late.C:
		return fmt.Sprintf("not healthy after %v", swapPatience)
	}
	return ""
}

// reject stops a new instance and says on the old ones why they still serve.
func (r *roll) reject(work context.Context, in *instance, reason string) {
	r.rejected, r.refusal = r.generation(), reason
	r.stopEach(work, []*instance{in})
	for n, other := range r.instances {
		if other == in {
			r.drop(n)
		}
	}
	r.sup.table.service(r.name, func(s *Service) { s.Rejected = reason })
	r.sup.table.annotate(r.name, r.outdated())
}
