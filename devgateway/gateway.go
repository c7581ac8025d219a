package devgateway

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/cors"
)

// Identity is who a verified token speaks for.
type Identity struct {
	Subject, Email string
	Roles, Scopes  []string
}

// TokenVerifier says what an access token is worth. Its error is shown to
// the sender.
type TokenVerifier interface {
	Verify(ctx context.Context, token string) (*Identity, error)
}

// ErrCannotVerify is for a [TokenVerifier] that could not look at a token, which may
// be good.
var ErrCannotVerify = errors.New("the token cannot be verified now")

// Config is what a gateway is made from. All of it may be left out.
type Config struct {
	Verifier TokenVerifier // nil: nobody is let in where a token is required
	Hosts    []string      // Host values that are accepted besides loopback's and the routes'
	Issuer   func() string // named in a 401, so that its reader knows where tokens come from
	Logger   *slog.Logger  // nil: silent

	// Observe gets a record of every request when it is over. It runs on
	// the request's goroutine, so it must not block.
	Observe func(Record)

	// Why says in a few words why a service has no healthy instance, for
	// the 503 that its callers get. It must not block.
	Why func(service string) string

	// Hold says how long a request waits for a service that has no healthy
	// instance but will soon have one by itself; 0: not at all. It must not
	// block. Nil: no request waits.
	Hold func(service string) time.Duration

	limits *limits // of tests; nil: those of the outside
}

// Gateway proxies requests. Its methods may be called from many goroutines
// at once.
type Gateway struct {
	config Config
	log    *slog.Logger
	via    string // what it calls itself to others (RFC 9110, 7.6.3)
	http1  *http.Transport
	http2  *http.Transport

	limits  limits
	table   atomic.Pointer[Table]
	pools   atomic.Pointer[pools]
	streams streams
	cors    atomic.Pointer[cors.Cors] // of what has no route; nil: no other origins

	browsers http.CrossOriginProtection

	linkRetries atomic.Pointer[Retries]  // nil: none
	outliers    atomic.Pointer[Outliers] // nil: nobody is left out
	ejecting    sync.Mutex               // held while an instance is left out

	mu      sync.Mutex  // held while instances change, never by a request
	retired []*endpoint // out of the set, with requests still on them
}

// New returns a gateway without routes and instances.
func New(c Config) *Gateway {
	g := &Gateway{config: c, log: c.Logger, via: "1.1 mesh-" + rand.Text(), http1: newTransport(false), http2: newTransport(true),
		limits: limits{headerLimit, idleLimit, stallLimit}}
	if c.limits != nil {
		g.limits = *c.limits
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.table.Store(emptyTable())
	g.pools.Store(&pools{})
	g.streams.init()
	return g
}

// SetTable makes a compiled table the one that decides from now on. It is not
// called twice at once.
func (g *Gateway) SetTable(t *Table) {
	before := g.table.Load()
	g.setOutside(before, t)
	t.keepCounts(before)
	g.table.Store(t)
}

// Routes returns the routes of the current table, the most specific first.
func (g *Gateway) Routes() []Route { return g.table.Load().Routes() }

// newTransport is tuned for few hosts that are near and get many requests:
// net/http's default keeps two idle connections a host, and opens a new one
// for most requests under load. Bodies pass as they are.
func newTransport(http2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:           dial,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       50 * time.Second, // less than servers usually wait
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		Protocols:             new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!http2)
	t.Protocols.SetHTTP2(http2) // of an outside URL
	t.Protocols.SetUnencryptedHTTP2(http2)
	return t
}
