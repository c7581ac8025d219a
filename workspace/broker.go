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

	"github.com/ebef7166/mesh/devbroker"
	"github.com/ebef7166/mesh/internal/relay"
	"github.com/ebef7166/mesh/manifest"
)

// broker is the broker of events. It begins when somebody needs it, since it takes as
// much processor time as the start of ten services: a service that says so, or whoever
// connects.
type broker struct {
	start  func() (*devbroker.Broker, error)
	closed atomic.Bool

	mu      sync.Mutex                       // held while it begins
	port    net.Listener                     // its port, until it listens there itself; nil from then on
	started atomic.Pointer[devbroker.Broker] // nil: not yet
	failed  atomic.Pointer[error]            // how the last try to begin ended; nil: there was none
	guests  sync.WaitGroup                   // who connected before it had begun
}

// errOver is what a broker says that was closed.
var errOver = errors.New("the broker is closed: everything is being stopped")

// begun has the broker begin, or waits until it has. One that could not is not tried
// again.
func (b *broker) begun() (*devbroker.Broker, error) { return b.tried(false) }

// again is begun, but tries once more where the broker could not begin.
func (b *broker) again() (*devbroker.Broker, error) { return b.tried(true) }

func (b *broker) tried(again bool) (*devbroker.Broker, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if failed := b.failed.Load(); failed != nil && *failed != nil && !again {
		return nil, *failed
	}
	if b.closed.Load() {
		return nil, errOver
	}
	if started := b.started.Load(); started != nil {
		return started, nil
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

// apply tells a broker that has begun of its users; else it asks for them when it does.
func (b *broker) apply(ctx context.Context, users func() []devbroker.User) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if started := b.started.Load(); started != nil {
		return started.Apply(ctx, users())
	}
	return nil
}

// receive passes on who connects before the broker has begun, which it has it do. It
// returns when the broker listens itself and they are gone, or ctx ends.
func (b *broker) receive(ctx context.Context, ln net.Listener) {
	_ = relay.Serve(ctx, ln, func(ctx context.Context, guest net.Conn) {
		started, err := b.begun()
		if err != nil {
			return // Problems tells
		}
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", started.Addr()); err == nil {
			defer conn.Close()
			relay.Join(ctx, guest, conn)
		}
	})
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
	b.closed.Store(true) // who waits to try is not waited for
	b.mu.Lock()
	_ = b.free() // nobody listens there any more, either way
	if started := b.started.Load(); started != nil {
		started.Shutdown()
	}
	b.mu.Unlock()
	b.guests.Wait()
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
	w.broker.guests.Go(func() { w.broker.receive(context.Background(), ln) })
	return nil
}

// usesEvents reports that a service needs the broker.
func (w *Workspace) usesEvents() bool {
	return slices.ContainsFunc(w.running(), (*manifest.Service).UsesEvents)
}

// readmit tells the broker of the users that have come and gone. Where it cannot begin,
// those who need it say so.
func (w *Workspace) readmit(ctx context.Context) error {
	if w.usesEvents() {
		_, _ = w.broker.again()
	}
	return w.broker.apply(ctx, w.brokerUsers)
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
