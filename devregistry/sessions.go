package devregistry

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ebef7166/mesh/devregistry/internal/kv"
)

// nodeIsAlive is the check that every node of Consul's has, and which its clients
// name for a session. This node is alive as long as it answers, so there is none.
const nodeIsAlive = "serfHealth"

// sessionRequest is the body of PUT /v1/session/create
// (https://developer.hashicorp.com/consul/api-docs/session#create-session). What
// it does not say is as NewSession has it.
type sessionRequest struct {
	LockDelay                 *lockDelay
	Node, Name, Behavior, TTL string
	Checks, NodeChecks        []string
	ServiceChecks             []kv.ServiceCheck
}

// lockDelay is a duration; a number below a thousand is seconds, as in Consul.
type lockDelay time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (l *lockDelay) UnmarshalJSON(body []byte) error {
	err := (*duration)(l).UnmarshalJSON(body)
	if *l < 1000 {
		*l *= lockDelay(time.Second)
	}
	return err
}

func (r *Registry) createSession(c *call) (any, error) {
	var body sessionRequest
	if c.ContentLength != 0 {
		if err := c.decode(&body); err != nil {
			return nil, err
		}
	}
	s := body.session(r.node)
	if body.Node != "" && body.Node != r.node {
		return nil, fail(http.StatusInternalServerError, "Missing node registration")
	}
	if err := s.Validate(); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	// Under the lock no check can turn critical before the session depends on it.
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.healthy(s); err != nil {
		return nil, err
	}
	id, err := r.keys.Create(s)
	if errors.Is(err, kv.ErrFull) {
		return nil, fail(http.StatusInsufficientStorage, "%v", err)
	}
	return map[string]string{"ID": id}, err
}

func (b *sessionRequest) session(node string) kv.Session {
	s := kv.NewSession()
	if b.LockDelay != nil {
		s.LockDelay = time.Duration(*b.LockDelay)
	}
	s.Node, s.Name, s.Behavior, s.TTL, s.ServiceChecks = node, b.Name, b.Behavior, b.TTL, b.ServiceChecks
	s.NodeChecks = slices.Concat(b.Checks, b.NodeChecks)
	if b.Checks == nil && b.NodeChecks == nil {
		s.NodeChecks = []string{nodeIsAlive}
	}
	return s
}

// healthy refuses a session that depends on what is not there or critical.
func (r *Registry) healthy(s kv.Session) error {
	ids := slices.Clone(s.NodeChecks)
	for _, c := range s.ServiceChecks {
		ids = append(ids, c.ID)
	}
	for _, id := range ids {
		c, ok := r.checks[id]
		switch {
		case cmp.Or(id, nodeIsAlive) == nodeIsAlive:
		case !ok:
			return fail(http.StatusInternalServerError, "Missing check '%s' registration", id)
		case c.status == statusCritical:
			return fail(http.StatusInternalServerError, "Check '%s' is in critical state", id)
		}
	}
	return nil
}

func (r *Registry) destroySession(c *call) (any, error) {
	r.keys.Destroy(c.PathValue("id"))
	return true, nil
}

func (r *Registry) renewSession(c *call) (any, error) {
	s, ok := r.keys.Renew(c.PathValue("id"))
	if !ok {
		return nil, fail(http.StatusNotFound, "Session id '%s' not found", c.PathValue("id"))
	}
	return []kv.Session{s}, nil
}

func (r *Registry) sessionInfo(c *call) (any, error) {
	return r.watchKeys(c, func() (any, uint64, <-chan struct{}) { return r.keys.Sessions(c.PathValue("id")) })
}

func (r *Registry) sessionList(c *call) (any, error) {
	return r.watchKeys(c, func() (any, uint64, <-chan struct{}) { return r.keys.Sessions("") })
}

func (r *Registry) sessionsOfNode(c *call) (any, error) {
	if c.PathValue("node") != r.node {
		return []kv.Session{}, nil
	}
	return r.sessionList(c)
}
