package devbroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	dedupeWindow  = 2 * time.Minute
	ackWait       = 30 * time.Second
	maxDeliver    = 5
	maxAckPending = 256                // events that a service may have in hand; more wait in the stream
	maxAge        = 7 * 24 * time.Hour // of an event
)

// applyStreams makes the streams, then the consumers on them.
func (b *Broker) applyStreams(ctx context.Context, users []User) error {
	for _, u := range users {
		if len(u.Publishes) == 0 || u.Outside {
			continue
		}
		if err := b.ensureStream(ctx, streamConfig(u.Name, u.Name+".>")); err != nil {
			return fmt.Errorf("stream %s: %w", u.Name, err)
		}
	}
	for _, u := range users {
		groups := consumed(u)
		for _, stream := range slices.Sorted(maps.Keys(groups)) {
			if err := b.ensureConsumer(ctx, stream, u.Name, groups[stream]); err != nil {
				return fmt.Errorf("consumer %s of %s: %w", u.Name, stream, err)
			}
		}
	}
	return nil
}

func streamConfig(name string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: subjects, Storage: jetstream.FileStorage,
		Duplicates: dedupeWindow, MaxAge: maxAge, AllowDirect: true,
	}
}

// ensureStream makes a stream, or changes one that is different. One that is as
// wanted is only looked at: a change waits for the disk, and most starts have none.
func (b *Broker) ensureStream(ctx context.Context, c jetstream.StreamConfig) error {
	if s, err := b.js.Stream(ctx, c.Name); err == nil && hasAll(s.CachedInfo().Config, c) {
		return nil
	}
	_, err := b.js.CreateOrUpdateStream(ctx, c)
	return err
}

// makeConsumer does the same for a consumer.
//
// The server (2.15.2) answers the first change of a consumer since it was started with
// what the consumer was before, which the client takes for a server that knows one
// subject only. So it is looked at again.
func (b *Broker) makeConsumer(ctx context.Context, stream string, c jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	if consumer := b.consumerAs(ctx, stream, c); consumer != nil {
		return consumer, nil
	}
	consumer, err := b.js.CreateOrUpdateConsumer(ctx, stream, c)
	if errors.Is(err, jetstream.ErrConsumerMultipleFilterSubjectsNotSupported) {
		if consumer := b.consumerAs(ctx, stream, c); consumer != nil {
			return consumer, nil
		}
	}
	return consumer, err
}

// consumerAs is a consumer if it is as wanted, else nil.
func (b *Broker) consumerAs(ctx context.Context, stream string, c jetstream.ConsumerConfig) jetstream.Consumer {
	consumer, err := b.js.Consumer(ctx, stream, c.Durable)
	if err != nil || !hasAll(consumer.CachedInfo().Config, c) {
		return nil
	}
	return consumer
}

// hasAll says whether a configuration has all that is set in the wanted one; the
// server fills in the rest.
func hasAll[T any](is, want T) bool {
	has, wants := reflect.ValueOf(is), reflect.ValueOf(want)
	for i := range wants.NumField() {
		if w := wants.Field(i); !w.IsZero() && !reflect.DeepEqual(has.Field(i).Interface(), w.Interface()) {
			return false
		}
	}
	return true
}

func (b *Broker) ensureConsumer(ctx context.Context, stream, name string, subjects []string) error {
	c := jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: ackWait, MaxDeliver: maxDeliver, MaxAckPending: maxAckPending,
	}
	if len(subjects) == 1 {
		c.FilterSubject = subjects[0]
	} else {
		c.FilterSubjects = slices.Sorted(slices.Values(subjects))
	}
	_, err := b.makeConsumer(ctx, stream, c)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("no service %q publishes events", stream)
	}
	return err
}

// Stats is what the broker holds.
type Stats struct {
	Connections int             `json:"connections"`
	Streams     []StreamStats   `json:"streams"`
	Consumers   []ConsumerStats `json:"consumers"`
	Dead        uint64          `json:"dead"`
}

// StreamStats is about one service's events.
type StreamStats struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	Last     uint64 `json:"last"` // sequence of the newest
}

// ConsumerStats is about one service's reading of another's events.
type ConsumerStats struct {
	Stream     string `json:"stream"`
	Name       string `json:"name"`
	Pending    uint64 `json:"pending"`     // not delivered yet
	AckPending int    `json:"ack_pending"` // delivered, not acknowledged
	Redelivery int    `json:"redelivered"`
	Done       uint64 `json:"done"` // sequence up to which all are acknowledged
}

// Stats reports on streams and consumers, by name.
func (b *Broker) Stats(ctx context.Context) (Stats, error) {
	stats := Stats{Connections: b.server.NumClients()}
	list := b.js.ListStreams(ctx)
	for info := range list.Info() {
		switch info.Config.Name {
		case deadStream:
			stats.Dead = info.State.Msgs
		case adviceStream:
		default:
			stats.Streams = append(stats.Streams, StreamStats{info.Config.Name, info.State.Msgs, info.State.Bytes, info.State.LastSeq})
		}
	}
	if err := list.Err(); err != nil {
		return stats, fmt.Errorf("broker: listing streams: %w", err)
	}
	for _, s := range stats.Streams {
		if err := b.addConsumers(ctx, &stats, s.Name); err != nil {
			return stats, fmt.Errorf("broker: listing consumers of %s: %w", s.Name, err)
		}
	}
	return stats, nil
}

func (b *Broker) addConsumers(ctx context.Context, stats *Stats, stream string) error {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		stats.Consumers = append(stats.Consumers, ConsumerStats{
			Stream: stream, Name: c.Name, Pending: c.NumPending, AckPending: c.NumAckPending,
			Redelivery: c.NumRedelivered, Done: c.AckFloor.Stream,
		})
	}
	return list.Err()
}
