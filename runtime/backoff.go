package runtime

import (
	"math/rand/v2"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// restarts decides what follows an exit: exponential back-off with jitter, and a
// limit on starts within a window.
type restarts struct {
	policy *manifest.Restart
	starts []time.Time // the newest, within the window
	count  int         // exits since the last time it ran long enough
}

// started notes a start.
func (r *restarts) started(now time.Time) {
	window := r.policy.Window.Or(manifest.DefaultStartWindow)
	for len(r.starts) > 0 && now.Sub(r.starts[0]) > window {
		r.starts = r.starts[1:]
	}
	r.starts = append(r.starts, now)
}

// uncounted forgets the newest start: it was none.
func (r *restarts) uncounted() { r.starts = r.starts[:len(r.starts)-1] }

// exhausted reports whether there were too many starts within the window.
func (r *restarts) exhausted(now time.Time) bool {
	limit := r.policy.Limit
	if limit == 0 {
		limit = manifest.DefaultStartLimit
	}
	return len(r.starts) >= limit && now.Sub(r.starts[0]) <= r.policy.Window.Or(manifest.DefaultStartWindow)
}

// delay before the next start, after a run of this length.
func (r *restarts) delay(ran time.Duration) time.Duration {
	if ran > r.policy.Window.Or(manifest.DefaultStartWindow) {
		r.count = 0
	}
	longest := r.policy.MaxBackoff.Or(manifest.DefaultMaxBackoff)
	d := r.policy.Backoff.Or(manifest.DefaultBackoff) << min(r.count, 20)
	if d <= 0 || d > longest {
		d = longest
	}
	r.count++
	// Up to a fifth more or less, so that what crashed together does not start
	// together for ever.
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// wanted reports whether the policy starts again after this exit.
func (r *restarts) wanted(code int) bool {
	switch r.policy.Policy {
	case "never":
		return false
	case "on-failure":
		return code != 0
	}
	return true
}
