package main

import (
	"context"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serveNATS is the server that is measured, a process of its own.
func serveNATS(args []string) error {
	address := args[0]
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mesh-bench-nats-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := server.NewServer(&server.Options{Host: host, Port: port, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

// natsKeys speaks to a key/value bucket in memory.
type natsKeys struct {
	address string
	conn    *nats.Conn
	keys    nats.KeyValue
	end     func()
}

const bucket = "services"

func newNATS(address string, stop func()) peer {
	conn, err := nats.Connect(address)
	check(err)
	js, err := conn.JetStream()
	check(err)
	keys, err := js.CreateKeyValue(&nats.KeyValueConfig{Bucket: bucket, Storage: nats.MemoryStorage})
	check(err)
	return &natsKeys{address: address, conn: conn, keys: keys, end: stop}
}

func (n *natsKeys) stop() {
	n.conn.Close()
	n.end()
}

func (n *natsKeys) register(service, id, value string) error {
	_, err := n.keys.Put(service+"."+id, []byte(value))
	return err
}

func (n *natsKeys) watch(ctx context.Context, service string, seen func(string)) error {
	conn, err := nats.Connect(n.address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, conn.Close)
	js, err := conn.JetStream()
	if err != nil {
		return err
	}
	keys, err := js.KeyValue(bucket)
	if err != nil {
		return err
	}
	watcher, err := keys.Watch(service+".*", nats.UpdatesOnly())
	if err != nil {
		return err
	}
	go func() { // until the connection is closed
		for update := range watcher.Updates() {
			if update != nil {
				seen(string(update.Value()))
			}
		}
	}()
	return nil
}
