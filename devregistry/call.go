package devregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ebef7166/mesh/devregistry/internal/probe"
	"github.com/ebef7166/mesh/internal/ownaddr"
)

const (
	maxBody     = 512 << 10 // as in Consul
	defaultWait = 5 * time.Minute
	maxWait     = 10 * time.Minute
)

// call is a request with its options, which are read once.
type call struct {
	*http.Request
	w http.ResponseWriter
	q url.Values
}

// handler answers with a value to be sent as JSON, or an error. A nil value
// is an empty 200.
type handler func(*call) (any, error)

// has reports whether an option is there, with or without a value. Consul's
// clients write ?recurse, ?recurse= and ?recurse=true alike.
func (c *call) has(option string) bool { return c.q.Has(option) }

// number reads an option that is a whole number; zero without it.
func (c *call) number(option string) (uint64, error) {
	text := c.q.Get(option)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fail(http.StatusBadRequest, "Invalid %s: %q is not a number", option, text)
	}
	return n, nil
}

// decode reads a JSON body. Like Consul it passes over keys that it does not
// know, and takes keys in any case.
func (c *call) decode(into any) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fail(http.StatusBadRequest, "Request decode failed: %v", err)
	}
	return nil
}

func (c *call) body() ([]byte, error) {
	body, err := io.ReadAll(c.Body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fail(http.StatusRequestEntityTooLarge, "Request body too large, max size: %d bytes", maxBody)
	}
	if err != nil {
		return nil, fail(http.StatusBadRequest, "Request decode failed: %v", err)
	}
	return body, nil
}

// patience is a context that ends when a blocking query's wait is over. A
// sixteenth is added to the wait, as in Consul, so that clients which started
// together do not come back together.
func (c *call) patience() (context.Context, context.CancelFunc, error) {
	wait := defaultWait
	if text := c.q.Get("wait"); text != "" {
		var err error
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
			return nil, nil, fail(http.StatusBadRequest, "Invalid wait time")
		}
	}
	wait = min(max(wait, time.Millisecond), maxWait)
	ctx, cancel := context.WithTimeout(c.Context(), wait+rand.N(wait/16+1))
	return ctx, cancel, nil
}

// stamp sets the headers that tell what an answer is worth.
func (c *call) stamp(index uint64) {
	h := c.w.Header()
	h["X-Consul-Index"] = []string{strconv.FormatUint(index, 10)}
	h["X-Consul-Knownleader"] = []string{"true"}
	h["X-Consul-Lastcontact"] = []string{"0"}
	h["X-Consul-Effective-Consistency"] = []string{"leader"}
}

// reach is where the sender of a request may have checks sent: a process of this
// machine to loopback and the containers, anybody else to containers alone, since
// loopback is not theirs.
func (c *call) reach(containers []netip.Prefix) probe.Reach {
	if c.fromHere() {
		return append(probe.Loopback(), containers...)
	}
	return containers
}

// fromHere reports whether a request comes from this machine: over loopback, or
// from an address of its own, as its processes come to the containers' bridge.
func (c *call) fromHere() bool {
	from, err := netip.ParseAddrPort(c.RemoteAddr)
	if err != nil {
		return false
	}
	ip := from.Addr().Unmap()
	if at, ok := c.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && at.AddrPort().Addr().Unmap() == ip {
		return true
	}
	return ip.IsLoopback() || ownaddr.Has(ip)
}

// statusError is an error that chose its HTTP status.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func fail(status int, format string, args ...any) error {
	return &statusError{status, fmt.Sprintf(format, args...)}
}

// flagged reports whether an option that is true when it is there says so.
func flagged(q url.Values, option string) (bool, error) {
	text := q.Get(option)
	if text == "" {
		return q.Has(option), nil
	}
	on, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, fail(http.StatusBadRequest, "Invalid value for ?%s", option)
	}
	return on, nil
}
