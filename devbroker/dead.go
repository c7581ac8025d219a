package devbroker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	deadStream   = "MESH_DEAD"       // upper case: no service has such a name
	adviceStream = "MESH_ADVISORIES" // what JetStream says about messages that it gave up
	deadSubject  = "$MESH.DEAD."
)

// DeadLetter is an event that a service could not process.
type DeadLetter struct {
	Time       time.Time   `json:"time"` // when it was given up
	Subject    string      `json:"subject"`
	Stream     string      `json:"stream"`
	Consumer   string      `json:"consumer"`
	Sequence   uint64      `json:"sequence"`
	Deliveries uint64      `json:"deliveries"`
	Reason     string      `json:"reason"`
	Header     nats.Header `json:"header,omitempty"`
	Data       []byte      `json:"data"`
}

// advisory is JetStream's message about one that it gives up on.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Sequence   uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Reason     string `json:"reason"`
	Type       string `json:"type"`
}

// collectDead starts the worker that copies dead letters. Advisories go
// through a stream, so that none is lost while mesh is not there to see it.
func (b *Broker) collectDead(ctx context.Context) error {
	advice := streamConfig(adviceStream, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>")
	advice.Retention = jetstream.WorkQueuePolicy
	for _, c := range []jetstream.StreamConfig{streamConfig(deadStream, deadSubject+">"), advice} {
		if err := b.ensureStream(ctx, c); err != nil {
			return fmt.Errorf("broker: stream %s: %w", c.Name, err)
		}
	}
	consumer, err := b.makeConsumer(ctx, adviceStream, jetstream.ConsumerConfig{
		Durable: "mesh", AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
	})
	if err != nil {
		return fmt.Errorf("broker: reading advisories: %w", err)
	}
	if b.dead, err = consumer.Messages(); err != nil {
		return fmt.Errorf("broker: reading advisories: %w", err)
	}
	b.workers.Go(b.copyDead)
	return nil
}

// copyDead runs until Shutdown stops its messages.
func (b *Broker) copyDead() {
	for {
		msg, err := b.dead.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) || errors.Is(err, nats.ErrConnectionClosed) {
			return
		}
		if err != nil {
			b.log.Warn("broker cannot read advisories", "error", err)
			continue
		}
		if err := b.bury(msg.Data()); err != nil {
			b.log.Warn("broker cannot keep a dead letter; it tries again", "error", err)
			_ = msg.NakWithDelay(time.Second)
			continue
		}
		_ = msg.Ack()
	}
}

// bury copies the event that an advisory is about. An advisory about an
// event that is gone, or that is none, is done with.
func (b *Broker) bury(body []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var a advisory
	if err := json.Unmarshal(body, &a); err != nil || a.Stream == adviceStream {
		return nil
	}
	stream, err := b.js.Stream(ctx, a.Stream)
	if err != nil {
		return ignoreMissing(err)
	}
	event, err := stream.GetMsg(ctx, a.Sequence)
	if err != nil {
		return ignoreMissing(err)
	}
	b.log.Warn("an event was given up", "subject", event.Subject, "consumer", a.Consumer, "deliveries", a.Deliveries, "reason", a.why())
	return b.keep(ctx, &a, event)
}

func ignoreMissing(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}

func (a *advisory) why() string {
	if a.Reason != "" {
		return a.Reason
	}
	if a.Type == "io.nats.jetstream.advisory.v1.terminated" {
		return "terminated by " + a.Consumer + " without a reason"
	}
	return fmt.Sprintf("not acknowledged after %d deliveries", a.Deliveries)
}

// keep stores a dead letter. Its ID is made of where it came from, so that an
// advisory that is read twice makes one.
func (b *Broker) keep(ctx context.Context, a *advisory, event *jetstream.RawStreamMsg) error {
	letter := DeadLetter{
		Time: time.Now().UTC(), Subject: event.Subject, Stream: a.Stream, Consumer: a.Consumer, Sequence: a.Sequence,
		Deliveries: a.Deliveries, Reason: a.why(), Header: event.Header, Data: event.Data,
	}
	body, err := json.Marshal(letter)
	if err != nil {
		return err
	}
	id := a.Stream + "." + a.Consumer + "." + strconv.FormatUint(a.Sequence, 10)
	_, err = b.js.Publish(ctx, deadSubject+a.Stream+"."+a.Consumer, body, jetstream.WithMsgID(id))
	return err
}

// Dead returns the newest n dead letters, the newest first.
func (b *Broker) Dead(ctx context.Context, n int) ([]DeadLetter, error) {
	stream, err := b.js.Stream(ctx, deadStream)
	if err != nil {
		return nil, fmt.Errorf("broker: reading dead letters: %w", err)
	}
	state := stream.CachedInfo().State
	letters := []DeadLetter{}
	for seq := state.LastSeq; seq >= max(state.FirstSeq, 1) && len(letters) < n; seq-- {
		msg, err := stream.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return letters, fmt.Errorf("broker: reading dead letters: %w", err)
		}
		var letter DeadLetter
		if err := json.Unmarshal(msg.Data, &letter); err != nil {
			return letters, fmt.Errorf("broker: dead letter %d: %w", seq, err)
		}
		letters = append(letters, letter)
	}
	return letters, nil
}
