package devidentity

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	cacheSlots = 4096
	maxCached  = 4 << 10 // longer tokens are verified each time: the cache stays under 20 MB
)

// cache remembers verified tokens. A token has one slot; another that falls
// into it takes its place. So it is bounded without a clean-up, and reading
// takes no lock and allocates nothing. Only good tokens get in: a sender of
// bad ones cannot push anything out.
type cache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[cached]
}

type cached struct {
	token  string // compared whole: a hash that collides finds nothing
	claims *Claims
}

func newCache() *cache {
	return &cache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[cached], cacheSlots)}
}

func (c *cache) slot(token string) *atomic.Pointer[cached] {
	return &c.slots[maphash.String(c.seed, token)%cacheSlots]
}

func (c *cache) get(token string) *Claims {
	if len(token) > maxCached {
		return nil
	}
	if found := c.slot(token).Load(); found != nil && found.token == token {
		return found.claims
	}
	return nil
}

func (c *cache) clear() {
	for i := range c.slots {
		c.slots[i].Store(nil)
	}
}

func (c *cache) put(token string, claims *Claims) {
	if len(token) <= maxCached {
		// A copy: the token may be a part of a request's whole head.
		c.slot(token).Store(&cached{string([]byte(token)), claims})
	}
}
