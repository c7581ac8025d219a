package devgateway

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limit bounds how often one sender may use a route: the subject of a token, or
// an address without one. The zero Limit bounds nothing.
type Limit struct {
	Requests int
	Per      time.Duration
}

func (l Limit) String() string { return fmt.Sprintf("%d in %v", l.Requests, l.Per) }

// mostSenders bounds the memory of a limit. At the bound those who have not been
// seen for a while are forgotten; when there is none of them, all are.
const mostSenders = 10_000

// limiter counts the requests of each sender. It lives as long as its
// route has the same place and limit, in one table after another.
type limiter struct {
	every rate.Limit
	burst int

	mu      sync.Mutex
	senders map[string]*rate.Limiter
}

func newLimiter(l Limit) *limiter {
	if l.Requests <= 0 || l.Per <= 0 {
		return nil
	}
	return &limiter{every: rate.Every(l.Per / time.Duration(l.Requests)), burst: l.Requests, senders: map[string]*rate.Limiter{}}
}

// allow takes one request of a sender; where it is too much, wait is when the
// next one will not be.
func (l *limiter) allow(sender string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.senders[sender]
	if bucket == nil {
		l.makeRoom(now)
		bucket = rate.NewLimiter(l.every, l.burst)
		l.senders[sender] = bucket
	}
	taken := bucket.ReserveN(now, 1)
	if wait = taken.DelayFrom(now); wait > 0 {
		taken.CancelAt(now)
	}
	return wait
}

func (l *limiter) makeRoom(now time.Time) {
	if len(l.senders) < mostSenders {
		return
	}
	maps.DeleteFunc(l.senders, func(_ string, bucket *rate.Limiter) bool { return bucket.TokensAt(now) >= float64(l.burst) })
	if len(l.senders) >= mostSenders {
		clear(l.senders)
	}
}

// keepCounts takes over what was counted for the same routes before. Nobody has seen t
// yet.
func (t *Table) keepCounts(before *Table) {
	for host, h := range t.hosts {
		if was := before.hosts[host]; was != nil {
			keepCounts(h.exact, was.exact)
			keepCounts(h.prefixes, was.prefixes)
		}
	}
}

func keepCounts(now, before map[string][]*compiled) {
	for place, bucket := range now {
		for _, c := range bucket {
			i := slices.IndexFunc(before[place], func(was *compiled) bool {
				return c.below == was.below && c.Limit == was.Limit && slices.Equal(c.Methods, was.Methods) && slices.Equal(c.headers, was.headers)
			})
			if i >= 0 {
				c.limiter = before[place][i].limiter
			}
		}
	}
}

// limit refuses what is too much.
func (x *exchange) limit(r *http.Request) *problem {
	if x.route.limiter == nil {
		return nil
	}
	sender, _, _ := net.SplitHostPort(r.RemoteAddr)
	if x.who != nil {
		sender = "subject " + x.who.Subject
	}
	wait := x.route.limiter.allow(sender, x.start)
	if wait == 0 {
		return nil
	}
	return &problem{status: http.StatusTooManyRequests, cause: "too many requests: the route takes " + x.route.Limit.String() + " of each sender",
		retry: int(math.Ceil(wait.Seconds()))}
}
