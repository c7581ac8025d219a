package devbroker

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server's own, for the process's lifetime.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*Server).startOSSignalHandler"))
}

func shop() []User {
	return []User{
		{Name: "cart", Password: "c", Publishes: []string{"cart.checked_out"}, Consumes: []string{"billing.paid", "billing.declined"}},
		{Name: "billing", Password: "b", Publishes: []string{"billing.paid", "billing.declined"}, Consumes: []string{"cart.checked_out"}},
	}
}

func start(t *testing.T, c Config) *Broker {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	b, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	return b
}

// service connects as a service does: with what NATS_URL says.
func service(t *testing.T, b *Broker, user string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(b.URL(user), nats.PermissionErrOnSubscribe(true), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

func fetch(t *testing.T, js jetstream.JetStream, stream, durable string) jetstream.Msg {
	t.Helper()
	consumer, err := js.Consumer(t.Context(), stream, durable)
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(5 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestEventsReachTheirConsumersAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	b := start(t, Config{Dir: dir, Users: shop()})
	_, cart := service(t, b, "cart")
	for range 2 { // the same event twice is one
		if _, err := cart.Publish(t.Context(), "cart.checked_out", []byte("one"), jetstream.WithMsgID("1")); err != nil {
			t.Fatal(err)
		}
	}
	b.Shutdown()
	b = start(t, Config{Dir: dir, Users: shop()})
	_, billing := service(t, b, "billing")
	msg := fetch(t, billing, "cart", "billing")
	if string(msg.Data()) != "one" {
		t.Errorf("got %q", msg.Data())
	}
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats, err := b.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(stats.Streams) != 2 || stats.Streams[1].Messages != 1 || len(stats.Consumers) != 2 {
		t.Errorf("stats: %+v", stats)
	}
	i := slices.IndexFunc(stats.Consumers, func(c ConsumerStats) bool { return c.Name == "billing" })
	if c := stats.Consumers[i]; c.Pending != 0 || c.AckPending != 0 || c.Done != 1 {
		t.Errorf("billing's consumer: %+v", c)
	}
}

func TestServicesMayOnlyWhatTheyDeclared(t *testing.T) {
	b := start(t, Config{Users: shop()})
	conn, js := service(t, b, "cart")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, subject := range []string{"billing.paid", "cart.other", "$JS.API.STREAM.DELETE.cart", "$JS.API.CONSUMER.MSG.NEXT.cart.billing"} {
		if err := conn.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = conn.Flush()
		if err := conn.LastError(); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publishing %s: %v", subject, err)
		}
	}
	if _, err := js.Consumer(ctx, "cart", "billing"); err == nil {
		t.Error("cart can use billing's consumer")
	}
	sub, err := conn.SubscribeSync("billing.>")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Flush()
	if _, err := sub.NextMsg(5 * time.Second); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("subscribing to another's events: %v", err)
	}
	if _, err := nats.Connect("nats://cart:wrong@" + b.Addr()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("a wrong password: %v", err)
	}
	if _, err := nats.Connect("nats://" + b.Addr()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("no password: %v", err)
	}
}

func TestApplyKeepsDataAndConnections(t *testing.T) {
	b := start(t, Config{Users: shop()})
	conn, cart := service(t, b, "cart")
	if _, err := cart.Publish(t.Context(), "cart.checked_out", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	users := append(shop(), User{Name: "mail", Password: "m", Consumes: []string{"cart.checked_out"}})
	if err := b.Apply(t.Context(), users); err != nil {
		t.Fatal(err)
	}
	if _, err := cart.Publish(t.Context(), "cart.checked_out", []byte("later")); err != nil {
		t.Errorf("after a reload: %v", err)
	}
	if conn.Reconnects != 0 {
		t.Error("a service whose permissions did not change was disconnected")
	}
	_, mail := service(t, b, "mail")
	if msg := fetch(t, mail, "cart", "mail"); string(msg.Data()) != "kept" {
		t.Errorf("a new consumer starts with %q", msg.Data())
	}
}

func TestDeadLetters(t *testing.T) {
	b := start(t, Config{Users: shop()})
	_, cart := service(t, b, "cart")
	_, billing := service(t, b, "billing")
	for _, body := range []string{"poison", "terminated", "fine"} {
		if _, err := cart.Publish(t.Context(), "cart.checked_out", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	consumer, err := billing.Consumer(t.Context(), "cart", "billing")
	if err != nil {
		t.Fatal(err)
	}
	for fine := false; !fine || len(dead(t, b)) < 2; {
		msg, err := consumer.Next(jetstream.FetchMaxWait(200 * time.Millisecond))
		if errors.Is(err, nats.ErrTimeout) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		switch string(msg.Data()) {
		case "poison":
			err = msg.Nak()
		case "terminated":
			err = msg.TermWithReason("no such order")
		default:
			fine, err = true, msg.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reasons := map[string]string{}
	for _, letter := range dead(t, b) {
		reasons[string(letter.Data)] = letter.Reason
		if letter.Subject != "cart.checked_out" || letter.Consumer != "billing" || letter.Time.IsZero() {
			t.Errorf("dead letter: %+v", letter)
		}
	}
	if reasons["terminated"] != "no such order" || reasons["poison"] != "not acknowledged after 5 deliveries" {
		t.Errorf("reasons: %v", reasons)
	}
	if one, err := b.Dead(t.Context(), 1); err != nil || len(one) != 1 {
		t.Errorf("the newest dead letter: %v %v", one, err)
	}
}

func dead(t *testing.T, b *Broker) []DeadLetter {
	t.Helper()
	letters, err := b.Dead(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	return letters
}

func TestTailAndPublish(t *testing.T) {
	b := start(t, Config{Users: shop()})
	if err := b.Publish(t.Context(), "nobody.knows", nil); err == nil || !strings.Contains(err.Error(), "no service publishes") {
		t.Errorf("publishing what no stream takes: %v", err)
	}
	got := make(chan Event, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- b.Tail(ctx, []string{"cart.>"}, func(e Event) error {
			select {
			case got <- e:
			default:
			}
			return nil
		})
	}()
	for { // until the tail is there
		if err := b.Publish(t.Context(), "cart.checked_out", []byte("seen")); err != nil {
			t.Fatal(err)
		}
		select {
		case e := <-got:
			if string(e.Data) != "seen" {
				t.Errorf("tail saw %+v", e)
			}
			cancel()
			if err := <-done; err != nil {
				t.Errorf("tail ended with %v", err)
			}
			return
		case err := <-done:
			t.Fatalf("tail ended with %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestBusyPortAndBadUsers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := Start(Config{Dir: t.TempDir(), Addr: ln.Addr().String()}); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("busy port: %v", err)
	}
	for _, u := range []User{
		{Name: "", Password: "x"}, {Name: "a.b", Password: "x"}, {Name: "a"}, {Name: "$mesh", Password: "x"},
		{Name: "a", Password: "x", Publishes: []string{"b.c"}}, {Name: "a", Password: "x", Publishes: []string{"a"}},
		{Name: "a", Password: "x", Consumes: []string{">"}}, {Name: "a", Password: "x", Consumes: []string{"$JS.API"}},
		{Name: "a", Password: "x", Consumes: []string{"missing.event"}},
	} {
		if b, err := Start(Config{Dir: t.TempDir(), Users: []User{u}}); err == nil {
			b.Shutdown()
			t.Errorf("%+v was taken", u)
		}
	}
}

func BenchmarkPublishSynced(b *testing.B) {
	broker, err := Start(Config{Dir: b.TempDir(), Users: shop()})
	if err != nil {
		b.Fatal(err)
	}
	defer broker.Shutdown()
	for b.Loop() {
		if err := broker.Publish(b.Context(), "cart.checked_out", []byte("event")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		broker, err := Start(Config{Dir: b.TempDir(), Users: shop()})
		if err != nil {
			b.Fatal(err)
		}
		broker.Shutdown()
	}
}

// TestWhatTheServerSays of why it does not start is told at once.
func TestWhatTheServerSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	begun := time.Now()
	_, err := Start(Config{Dir: file})
	if err == nil || !strings.Contains(err.Error(), "not a directory") || time.Since(begun) > startTimeout/2 {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

// URL returns the address for a user, with its credentials; without a known
// one, the bare address.
func (b *Broker) URL(user string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := url.URL{Scheme: "nats", Host: b.Addr()}
	for _, candidate := range b.users {
		if candidate.Name == user {
			u.User = url.UserPassword(candidate.Name, candidate.Password)
		}
	}
	return u.String()
}
