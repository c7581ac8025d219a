package devbroker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// Event is an event as it passes.
type Event struct {
	Time    time.Time   `json:"time"` // when mesh saw it
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header,omitempty"`
	Data    []byte      `json:"data"`
}

// tailQueue is how many events a slow reader of Tail may fall behind; then
// it misses the newest ones, and publishers notice nothing.
const tailQueue = 1024

// Tail calls see with every event of the subjects (wildcards allowed; none:
// all) from now on, until ctx ends or see returns an error.
func (b *Broker) Tail(ctx context.Context, subjects []string, see func(Event) error) error {
	if len(subjects) == 0 {
		subjects = []string{"*.>"}
	}
	queue := make(chan *nats.Msg, tailQueue)
	for _, subject := range subjects {
		sub, err := b.conn.ChanSubscribe(subject, queue)
		if err != nil {
			return fmt.Errorf("broker: tailing %s: %w", subject, err)
		}
		defer func() { _ = sub.Unsubscribe() }()
	}
	if err := b.conn.Flush(); err != nil {
		return fmt.Errorf("broker: tailing: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-queue:
			if isInternal(msg.Subject) {
				continue
			}
			if err := see(Event{time.Now(), msg.Subject, msg.Header, msg.Data}); err != nil {
				return err
			}
		}
	}
}

// isInternal is true of the subjects of NATS and mesh themselves, which a
// wildcard matches too.
func isInternal(subject string) bool { return subject[0] == '$' || subject[0] == '_' }
