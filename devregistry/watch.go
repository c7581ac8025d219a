package devregistry

import (
	"net/http"
	"sync"
)

// watched is an answer to a blocking query: true at an index, and the same for
// everybody who asks with the same options while the index stays.
type watched struct {
	value any
	index uint64
	key   string
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
	index, key := r.topics.at(topic), c.key()
	c.stamp(index)
	if body, ok := r.kept.get(key, index); ok {
		return body, nil
	}
	return watched{value: read(), index: index, key: key}, nil
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
	mu    sync.RWMutex
	bytes int
	of    map[string]keptAnswer
}

type keptAnswer struct {
	index uint64
	body  rendered
}

func (k *keeper) get(key string, index uint64) (rendered, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	a, ok := k.of[key]
	return a.body, ok && a.index == index
}

func (k *keeper) put(key string, index uint64, body rendered) {
	if len(key) > maxKeptKey || len(body) > maxKeptBytes/16 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.of[key]
	if before.index > index {
		return
	}
	if k.of == nil || len(k.of) >= maxKept || k.bytes+len(body) > maxKeptBytes {
		k.of, k.bytes, before = map[string]keptAnswer{}, 0, keptAnswer{}
	}
	k.of[key] = keptAnswer{index, body}
	k.bytes += len(body) - len(before.body)
}
