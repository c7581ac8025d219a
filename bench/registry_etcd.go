package main

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

// etcd speaks to etcd (https://etcd.io/docs/v3.4/learning/api/). Three calls do not
// need its client: the messages are written by hand.
type etcd struct {
	conn   *grpc.ClientConn
	end    func()
	leases sync.Map // instance ID to lease
}

func newEtcd(address string, stop func()) peer {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	check(err)
	return &etcd{conn: conn, end: stop}
}

// raw is a codec of messages that are bytes already.
type raw struct{}

func (raw) Name() string                       { return "proto" }
func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }

func (e *etcd) stop() {
	e.conn.Close()
	e.end()
}

func (e *etcd) call(method string, request []byte) ([]byte, error) {
	var answer []byte
	err := e.conn.Invoke(context.Background(), method, &request, &answer)
	return answer, err
}

func text(message []byte, field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(message, field, protowire.BytesType), value)
}

func number(message []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(message, field, protowire.VarintType), value)
}

// register puts a key under a lease, the instance's own.
func (e *etcd) register(service, id, value string) error {
	lease, ok := e.leases.Load(id)
	if !ok {
		answer, err := e.call("/etcdserverpb.Lease/LeaseGrant", number(nil, 1, 60))
		if err != nil {
			return err
		}
		lease = field(answer, 2)
		e.leases.Store(id, lease)
	}
	key := "/" + service + "/" + id
	_, err := e.call("/etcdserverpb.KV/Put", number(text(text(nil, 1, key), 2, value), 3, lease.(uint64)))
	return err
}

// lookup reads all keys below a service's.
func (e *etcd) lookup(service string) (int, error) {
	answer, err := e.call("/etcdserverpb.KV/Range", text(text(nil, 1, "/"+service+"/"), 2, "/"+service+"0"))
	return int(field(answer, 4)), err
}

// field reads a number of a message.
func field(message []byte, wanted protowire.Number) uint64 {
	for len(message) > 0 {
		n, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return 0
		}
		if n == wanted && kind == protowire.VarintType {
			value, _ := protowire.ConsumeVarint(message[size:])
			return value
		}
		skip := protowire.ConsumeFieldValue(n, kind, message[size:])
		if skip < 0 {
			return 0
		}
		message = message[size+skip:]
	}
	return 0
}
