package runtime

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/ebef7166/mesh/internal/listening"
	"github.com/ebef7166/mesh/manifest"
)

// watcher stays with a running instance: it probes, and sees it end.
type watcher struct {
	*instance
	running  Running
	probe    probe // nil: nothing to ask
	liveness probe // nil: none declared

	failures int       // of readiness in a row
	dead     int       // of liveness in a row
	begun    time.Time // when the program started
	wait     time.Duration
	asking   sync.WaitGroup // the goroutines of ask
}

// watch returns when the program is gone.
func (w *watcher) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer w.asking.Wait()
	defer cancel()
	w.begun, w.wait = time.Now(), firstProbe
	ready := w.ask(ctx, w.readiness(), w.settle())
	var alive <-chan error // liveness is asked from the first readiness on: a start may take its time
	for {
		select {
		case <-w.running.Done():
			return
		case <-w.stopping:
			w.end(ctx, w.running)
			return
		case <-ctx.Done():
			w.end(ctx, w.running)
			return
		case err := <-ready:
			again := w.seen(err)
			ready = w.ask(ctx, w.readiness(), again)
			if alive == nil && w.view.State == Healthy && w.liveness != nil {
				alive = w.ask(ctx, w.liveness, w.interval(w.service.Liveness))
			}
		case err := <-alive:
			if w.killed(ctx, err) {
				return
			}
			alive = w.ask(ctx, w.liveness, w.interval(w.service.Liveness))
		}
	}
}

// settle is how long to wait before the first answer counts.
func (w *watcher) settle() time.Duration {
	if w.probe == nil {
		return workerSettle
	}
	return firstProbe // nothing listens sooner
}

// quickFor is how long the kernel's word that nobody listens counts for the program's.
// Then it is asked anyway: some are reached by rules of the kernel's firewall alone.
const quickFor = time.Second

// readiness is the probe to ask with. A program that has just begun is not connected to
// while nobody listens yet.
func (w *watcher) readiness() probe {
	at, err := netip.ParseAddrPort(w.view.Address)
	runs := w.service.Health != nil && !w.service.Health.Command.Empty() // a command, which need not connect
	if err != nil || w.probe == nil || runs || w.service.Container() || w.view.State != Starting || time.Since(w.begun) > quickFor {
		return w.probe
	}
	return func(ctx context.Context) error {
		if listens, known := listening.At(at); known && !listens {
			return nothingListens(at.String())
		}
		return w.probe(ctx)
	}
}

// ask probes after a pause. The goroutine never blocks on its one answer, which
// waits in the channel. Without a probe the answer is that all is well, once.
func (w *watcher) ask(ctx context.Context, p probe, after time.Duration) <-chan error {
	if p == nil && (w.service.Kind == manifest.KindTask || w.view.State == Healthy) {
		return nil
	}
	answer := make(chan error, 1)
	w.asking.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if p == nil {
			answer <- nil
			return
		}
		answer <- p(ctx)
	})
	return answer
}

// seen acts on an answer of the readiness probe and returns when to ask again.
func (w *watcher) seen(err error) time.Duration {
	if err == nil {
		w.failures = 0
		w.enter()
		return w.interval(w.service.Health)
	}
	if errors.Is(err, ErrUnavailable) && w.view.State != Starting {
		return w.interval(w.service.Health) // which says nothing about the instance
	}
	w.failures++
	if w.view.State == Starting {
		return w.stillStarting(err)
	}
	if w.view.State == Healthy && w.failures < threshold(w.service.Health) {
		return w.interval(w.service.Health)
	}
	if w.view.State == Healthy {
		w.leave()
	}
	w.to(Unhealthy, "%v", err)
	return w.interval(w.service.Health)
}

func (w *watcher) stillStarting(err error) time.Duration {
	state := Starting
	if time.Since(w.begun) > startPatience {
		state = Unhealthy
	}
	if time.Since(w.begun) > time.Second { // not for each of the first quick ones
		w.to(state, "not healthy yet: %v", err)
	}
	wait := w.wait
	w.wait = min(wait*8/7, longestProbe)
	return wait
}

// killed restarts an instance that fails its liveness probe.
func (w *watcher) killed(ctx context.Context, err error) bool {
	if err == nil {
		w.dead = 0
	}
	if err == nil || errors.Is(err, ErrUnavailable) {
		return false
	}
	w.dead++
	if w.dead < threshold(w.service.Liveness) {
		return false
	}
	w.blame = fmt.Sprintf("failed its liveness probe %d times: %v", w.dead, err)
	w.to(Unhealthy, "%s", w.blame)
	w.leave()
	stop := w.service.Stop
	w.running.Stop(ctx, stopSignal(stop), stop.Grace.Or(manifest.DefaultGrace))
	return true
}

func (w *watcher) interval(p *manifest.Probe) time.Duration {
	switch {
	case p == nil && w.view.State == Healthy && !w.service.External(): // whose end nobody tells
		return settledInterval
	case p == nil:
		return manifest.DefaultProbeInterval
	}
	return p.Interval.Or(manifest.DefaultProbeInterval)
}

func threshold(p *manifest.Probe) int {
	if p == nil || p.Threshold == 0 {
		return manifest.DefaultThreshold
	}
	return p.Threshold
}
