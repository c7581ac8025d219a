package workspace

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/manifest"
)

// broker is the broker of events. It begins when it is first asked for, since it takes
// as much processor time as the start of ten services.
type broker struct {
	start func() (*devbroker.Broker, error)

	mu      sync.Mutex   // held while it begins
	port    net.Listener // reserves its port, until just before it listens there itself; nil from then on
	closed  bool
	started atomic.Pointer[devbroker.Broker] // nil: not yet
	failed  atomic.Pointer[error]            // how the last try to begin ended; nil: there was none
}

// errOver is what a broker says that was closed before it began.
var errOver = errors.New("the broker has not begun, and everything is being stopped")

// begun has the broker begin, or waits until it has.
func (b *broker) begun() (*devbroker.Broker, error) { return b.tried(false) }

// again is begun, but tries once more where the broker could not begin.
func (b *broker) again() (*devbroker.Broker, error) { return b.tried(true) }

func (b *broker) tried(again bool) (*devbroker.Broker, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if started := b.started.Load(); started != nil {
		return started, nil
	}
	if b.closed {
		return nil, errOver
	}
	if failed := b.failed.Load(); failed != nil && !again {
		return nil, *failed
	}
	started, err := b.begin()
	b.failed.Store(&err)
	b.started.Store(started)
	return started, err
}

// begin makes room for the broker and starts it; b.mu is held.
func (b *broker) begin() (*devbroker.Broker, error) {
	if err := b.free(); err != nil {
		return nil, err
	}
	return b.start()
}

// free gives up the port; b.mu is held.
func (b *broker) free() error {
	port := b.port
	if b.port = nil; port == nil {
		return nil
	}
	return unlisten(port)
}

// err is why no events are kept, as far as is known.
func (b *broker) err() error {
	if started := b.started.Load(); started != nil {
		return started.Err()
	}
	if failed := b.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// close shuts the broker down, or keeps it from beginning.
func (b *broker) close() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	_ = b.free() // nobody listens there any more, either way
	if started := b.started.Load(); started != nil {
		started.Shutdown()
	}
}

// listenBroker takes the address at which the broker will listen.
func (w *Workspace) listenBroker() error {
	ln, err := w.keptListener("broker")
	if err != nil {
		return err
	}
	address := ln.Addr().String()
	w.urls["broker"] = "nats://" + address
	w.broker = &broker{port: ln, start: func() (*devbroker.Broker, error) {
		// What starts processes copies our file table: it would hold the port.
		if err := w.processes.AwaitReady(); err != nil {
			return nil, err
		}
		return devbroker.Start(devbroker.Config{Dir: w.state.Path("data", "broker"), Addr: address, Users: w.brokerUsers(), Logger: w.log.With("part", "broker")})
	}}
	return nil
}

// usesEvents reports that the broker is needed from the start. Where it is not, it
// begins when the start is over, for those who ask for it without saying so.
func (w *Workspace) usesEvents() bool {
	return w.options.Outside || slices.ContainsFunc(w.running(), (*manifest.Service).UsesEvents)
}

// startTime is how long a start may take to be over.
const startTime = 3 * time.Second

// beginBroker has the broker begin at the latest when the start is over, unless ctx
// ends before. One that nobody needs may fail.
func (w *Workspace) beginBroker(ctx context.Context) error {
	if w.usesEvents() {
		return w.Begun()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-w.supervisor.Rested():
	case <-time.After(startTime):
	}
	if _, err := w.broker.begun(); err != nil && ctx.Err() == nil {
		w.log.Warn(err.Error()) // a problem of the workspace, too
	}
	return nil
}

// readmit tells the broker of the users that have come and gone.
func (w *Workspace) readmit(ctx context.Context) error {
	b, err := w.broker.again()
	if err != nil {
		return err
	}
	return b.Apply(ctx, w.brokerUsers())
}

// brokerURL is the broker's address with the login of a service, or of Outside where
// there is one.
func (w *Workspace) brokerURL(user string) string {
	u := url.URL{Scheme: "nats", Host: w.brokerAddress()}
	if user != Outside || w.options.Outside {
		u.User = url.UserPassword(user, w.brokerPassword(user))
	}
	return w.everywhere(u.String())
}

func (w *Workspace) brokerPassword(user string) string { return w.state.Secret("nats/" + user) }

// brokerAddress is where the broker listens on this machine: host:port.
func (w *Workspace) brokerAddress() string { return strings.TrimPrefix(w.urls["broker"], "nats://") }
