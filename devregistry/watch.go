package devregistry

import (
	"net/http"
	"sync"
)

// watched is an answer to a blocking query that has yet to be written as JSON.
type watched struct {
	value any
	share *shared
}

// watch answers a query, blocking (with ?index) or not. read runs with the lock
// held for reading, under which the index is read too: an answer holds all
// changes up to its index and none after, so that a watcher who goes on from
// there misses nothing and sees nothing twice.
// (https://developer.hashicorp.com/consul/api-docs/features/blocking)
func (r *Registry) watch(c *call, topic string, read func() any) (any, error) {
	seen, err := c.number("index")
	if err != nil {
		return nil, fail(http.StatusBadRequest, "Invalid index")
	}
	if seen > 0 {
		ctx, done, err := c.patience()
		if err != nil {
			return nil, err
		}
		defer done()
		r.wait(ctx, topic, seen)
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := r.topics.edition(topic)
	c.stamp(now.index)
	share, mine := r.kept.claim(c.key(), now)
	if !mine {
		return share, nil
	}
	return watched{read(), share}, nil
}

// key is what tells two queries apart, leaving out how they wait.
func (c *call) key() string {
	if !c.has("index") && !c.has("wait") {
		return c.URL.RequestURI()
	}
	q := c.URL.Query()
	q.Del("index")
	q.Del("wait")
	u := *c.URL
	u.RawQuery = q.Encode()
	return u.RequestURI()
}

// Bounds of the answers that are kept. At the bound all are dropped, and made
// anew as they are asked for.
const (
	maxKept      = 1024
	maxKeptBytes = 16 << 20
	maxKeptKey   = 512 // a longer one is not kept
)

// keeper keeps answers as JSON, so that many watchers of one service cost one
// encoding a change, and balancers that poll cost none.
type keeper struct {
	mu    sync.Mutex
	bytes int
	of    map[string]*shared
}

// shared is an answer that is the same for everybody who asks with the same
// options of the same edition. The first to ask makes it, the others wait.
type shared struct {
	of   edition
	made chan struct{} // closed when body and err are there
	body rendered
	err  error
}

// claim returns the answer to a query in an edition, and whether the caller is the
// one who has to make it. Callers come in the order of editions: they hold the
// registry's lock.
func (k *keeper) claim(key string, of edition) (share *shared, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.of[key]
	if before != nil && before.of == of {
		return before, false
	}
	share = &shared{of: of, made: make(chan struct{})}
	if len(key) > maxKeptKey {
		return share, true
	}
	if k.of == nil || len(k.of) >= maxKept || k.bytes > maxKeptBytes {
		k.of, k.bytes = map[string]*shared{}, 0
	}
	k.of[key] = share
	return share, true
}

// put gives everybody who waits for an answer what became of it.
func (k *keeper) put(share *shared, body rendered, err error) {
	share.body, share.err = body, err
	close(share.made)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bytes += len(body) // also of one that was replaced: the bound is reached the sooner
}
