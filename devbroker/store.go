package devbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// storeCheck is how often the broker looks whether its server still keeps events,
// and tries to have it do so again.
const storeCheck = time.Second

var errNoStore = errors.New("the broker keeps no events: its disk was full or could not be written")

// keepStore has the server keep events again once there is room for them, until
// ctx ends. By itself a stream takes nothing more after a write has failed, or the
// server gives up all of them, until it is started anew; publishers get no answer.
func (b *Broker) keepStore(ctx context.Context, config server.JetStreamConfig) {
	look := time.NewTicker(storeCheck)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if b.server.JetStreamEnabled() && !b.serverLog.storeFailed.Load() {
			continue
		}
		if err := b.reopenStore(config); err != nil {
			err = fmt.Errorf("%w: %w", errNoStore, err)
			b.store.Store(&err)
			continue
		}
		b.store.Store(nil)
		b.log.Warn("the broker keeps events again")
	}
}

// reopenStore opens the store anew; what is in it stays.
func (b *Broker) reopenStore(config server.JetStreamConfig) error {
	if err := room(config.StoreDir); err != nil {
		return err
	}
	b.serverLog.storeFailed.Store(false)
	if err := b.server.ShutdownJetStream(); err != nil {
		return err
	}
	return b.server.EnableJetStream(&config)
}

// room tries whether a folder can be written.
func room(dir string) error {
	f, err := os.CreateTemp(dir, ".room-*")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20))
	return errors.Join(err, f.Close(), os.Remove(f.Name()))
}

// Err says why no events are kept now; nil: they are.
func (b *Broker) Err() error {
	if err := b.store.Load(); err != nil {
		return *err
	}
	return nil
}
