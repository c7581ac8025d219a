package devregistry

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/devregistry/internal/kv"
)

// watchKeys answers a blocking query over the key/value store. look returns what
// there is, the index of its last change, and a channel that is closed by the
// next.
func (r *Registry) watchKeys(c *call, look func() (any, uint64, <-chan struct{})) (any, error) {
	seen, err := c.number("index")
	if err != nil {
		return nil, fail(http.StatusBadRequest, "Invalid index")
	}
	ctx, done, err := c.patience()
	if err != nil {
		return nil, err
	}
	defer done()
	for {
		answer, index, changed := look()
		if index != seen || seen == 0 || ctx.Err() != nil {
			c.stamp(index)
			return answer, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// getKey answers with an entry, with ?recurse with all below a prefix, with ?keys
// with their names, and with ?raw with the bare value
// (https://developer.hashicorp.com/consul/api-docs/kv#read-key).
func (r *Registry) getKey(c *call) (any, error) {
	switch key := c.PathValue("key"); {
	case c.has("keys"):
		return r.keyNames(c, key)
	case c.has("recurse"):
		return r.keyTree(c, key)
	case key == "":
		return nil, fail(http.StatusBadRequest, "Missing key name")
	default:
		return r.oneKey(c, key)
	}
}

func (r *Registry) oneKey(c *call, key string) (any, error) {
	found, err := r.watchKeys(c, func() (any, uint64, <-chan struct{}) { return r.keys.Get(key) })
	if err != nil {
		return nil, err
	}
	entry := found.(*kv.Entry)
	if entry == nil {
		return nil, nothing()
	}
	if c.has("raw") {
		return nil, raw(c.w, entry.Value)
	}
	return []*kv.Entry{entry}, nil
}

// raw sends a value as it is. It is anybody's, so that no browser may take it for
// a page of this origin.
func raw(w http.ResponseWriter, value []byte) error {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	_, err := w.Write(value)
	return err
}

// nothing is Consul's answer for keys that are not there: 404 without words.
func nothing() error { return fail(http.StatusNotFound, "") }

func (r *Registry) keyTree(c *call, prefix string) (any, error) {
	found, err := r.watchKeys(c, func() (any, uint64, <-chan struct{}) { return r.keys.List(prefix) })
	if err != nil {
		return nil, err
	}
	if len(found.([]*kv.Entry)) == 0 {
		return nil, nothing()
	}
	return found, nil
}

func (r *Registry) keyNames(c *call, prefix string) (any, error) {
	found, err := r.watchKeys(c, func() (any, uint64, <-chan struct{}) { return r.keys.List(prefix) })
	if err != nil {
		return nil, err
	}
	names := kv.Keys(found.([]*kv.Entry), prefix, c.q.Get("separator"))
	if len(names) == 0 {
		return nil, nothing()
	}
	return names, nil
}

// putKey answers true, or false when check-and-set or a lock forbade the write.
func (r *Registry) putKey(c *call) (any, error) {
	if err := c.only("cas", "acquire", "release"); err != nil {
		return nil, err
	}
	flags, err := c.number("flags")
	if err != nil {
		return nil, err
	}
	index, err := c.number("cas")
	if err != nil {
		return nil, err
	}
	value, err := c.body()
	if err != nil {
		return nil, err
	}
	op := kv.Op{Verb: kv.Set, Key: c.PathValue("key"), Value: value, Flags: flags, Index: index}
	switch {
	case c.has("cas"):
		op.Verb = kv.CAS
	case c.has("acquire"):
		op.Verb, op.Session = kv.Lock, c.q.Get("acquire")
	case c.has("release"):
		op.Verb, op.Session = kv.Unlock, c.q.Get("release")
	}
	return r.applyKey(op)
}

func (r *Registry) deleteKey(c *call) (any, error) {
	if err := c.only("cas", "recurse"); err != nil {
		return nil, err
	}
	index, err := c.number("cas")
	if err != nil {
		return nil, err
	}
	op := kv.Op{Verb: kv.Delete, Key: c.PathValue("key"), Index: index}
	switch {
	case c.has("recurse"):
		op.Verb = kv.DeleteTree
		_, failed := r.keys.Apply(op)
		return len(failed) == 0, nil
	case c.has("cas"):
		op.Verb = kv.DeleteCAS
	}
	return r.applyKey(op)
}

// only refuses options that exclude each other.
func (c *call) only(options ...string) error {
	there := slices.DeleteFunc(options, func(option string) bool { return !c.has(option) })
	if len(there) > 1 {
		return fail(http.StatusBadRequest, "Conflicting flags: %s", strings.Join(there, ", "))
	}
	return nil
}

func (r *Registry) applyKey(op kv.Op) (any, error) {
	if op.Key == "" {
		return nil, fail(http.StatusBadRequest, "Missing key name")
	}
	_, failed := r.keys.Apply(op)
	switch {
	case len(failed) == 0:
		return true, nil
	case errors.Is(failed[0].Err, kv.ErrRefused):
		return false, nil
	case errors.Is(failed[0].Err, kv.ErrFull):
		return nil, fail(http.StatusInsufficientStorage, "%s", failed[0].What)
	}
	return nil, failed[0].Err
}
