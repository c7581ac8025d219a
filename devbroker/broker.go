package devbroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// User is a service, with what its manifest says about events.
type User struct {
	Name, Password string
	Publishes      []string // subjects of its own: <name>.<event>
	Consumes       []string // subjects of others

	// Outside is for a test that is no service: what it publishes are events of
	// others, which it may also subscribe to. It has no stream of its own.
	Outside bool
}

// Config is what a broker is started with.
type Config struct {
	Dir     string // of its files
	Addr    string // host:port on loopback; port 0 or empty: a free one
	Users   []User
	Logger  *slog.Logger // nil: silent
	Relaxed bool         // acknowledge before the disk has an event: faster, and a power cut loses it
}

// Broker is a running broker. Its methods may be called from many goroutines
// at once.
type Broker struct {
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	admin  string // the password of mesh's own user, new each time

	mu      sync.Mutex // held by Apply
	options *server.Options
	users   []User

	dead      jetstream.MessagesContext
	serverLog *serverLog
	store     atomic.Pointer[error] // why no events are kept
	stop      context.CancelFunc    // ends keepStore
	workers   sync.WaitGroup
}

const (
	adminUser    = "$mesh" // no service can have this name
	startTimeout = 10 * time.Second
)

// Start starts the broker and makes the streams and consumers of its users.
func Start(c Config) (*Broker, error) {
	b := &Broker{log: c.Logger, admin: nuid.Next()}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if err := validate(c.Users); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := b.startServer(ctx, c); err != nil {
		return nil, err
	}
	err := b.connect()
	if err == nil {
		err = b.Apply(ctx, c.Users)
	}
	if err == nil {
		err = b.collectDead(ctx)
	}
	if err != nil {
		b.Shutdown()
		return nil, err
	}
	store := *b.server.JetStreamConfig()
	store.StoreDir = c.Dir // it tells the folder that it has made in there
	keeping, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.workers.Go(func() { b.keepStore(keeping, store) })
	return b, nil
}

func (b *Broker) startServer(ctx context.Context, c Config) error {
	host, port, err := freeAddress(ctx, cmp.Or(c.Addr, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	b.options = &server.Options{
		ServerName: "mesh", Host: host, Port: port, NoSigs: true,
		JetStream: true, StoreDir: c.Dir, SyncAlways: !c.Relaxed, JetStreamMaxMemory: 64 << 20,
		Users: b.serverUsers(c.Users),
	}
	s, err := server.NewServer(b.options.Clone())
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	log := &serverLog{log: b.log}
	b.serverLog = log
	s.SetLogger(log, false, false)
	s.Start()
	if log.fatal.Load() || !s.ReadyForConnections(startTimeout) {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("broker: it did not start: %s", cmp.Or(log.lastError(), "no reason given"))
	}
	b.server = s
	b.options.Port = s.Addr().(*net.TCPAddr).Port // kept through a reload
	return nil
}

// freeAddress finds out before the server does whether the port can be had:
// its own message comes late and without the address.
func freeAddress(ctx context.Context, addr string) (host string, port int, err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", 0, fmt.Errorf("broker: %w", err)
	}
	defer ln.Close()
	tcp := ln.Addr().(*net.TCPAddr)
	return tcp.IP.String(), tcp.Port, nil
}

// connect opens mesh's own connection, which does not use the network.
func (b *Broker) connect() error {
	conn, err := nats.Connect("", nats.InProcessServer(b.server), nats.Name("mesh"),
		nats.UserInfo(adminUser, b.admin), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	b.conn = conn
	b.js, err = jetstream.New(conn)
	return err
}

// Apply makes the users, streams and consumers of a changed workspace. Data
// and connections stay; what a service may do changes at once. Streams and
// consumers that nobody declares any more are kept with their positions: the
// service may come back.
func (b *Broker) Apply(ctx context.Context, users []User) error {
	if err := validate(users); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.applyStreams(ctx, users); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if slices.EqualFunc(users, b.users, sameUser) {
		return nil
	}
	next := b.options.Clone()
	next.Users = b.serverUsers(users)
	if err := b.server.ReloadOptions(next); err != nil {
		return fmt.Errorf("broker: changing users: %w", err)
	}
	b.users = slices.Clone(users)
	return nil
}

func sameUser(a, b User) bool {
	return a.Name == b.Name && a.Password == b.Password &&
		a.Outside == b.Outside && slices.Equal(a.Publishes, b.Publishes) && slices.Equal(a.Consumes, b.Consumes)
}

// Addr returns the host:port that the broker listens on.
func (b *Broker) Addr() string { return b.server.Addr().String() }

// Shutdown stops the broker and waits until its files are closed.
func (b *Broker) Shutdown() {
	if b.stop != nil {
		b.stop()
	}
	if b.dead != nil {
		b.dead.Stop()
	}
	b.workers.Wait()
	if b.conn != nil {
		b.conn.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

// Publish publishes an event in mesh's own name, and returns once it is
// stored.
func (b *Broker) Publish(ctx context.Context, subject string, data []byte) error {
	if _, err := b.js.Publish(ctx, subject, data); err != nil {
		if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse) {
			return fmt.Errorf("broker: no service publishes %s", subject)
		}
		return fmt.Errorf("broker: publishing %s: %w", subject, err)
	}
	return nil
}
