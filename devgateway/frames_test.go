package devgateway

import (
	"bytes"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// deadlines is a connection on which something comes, and which notes whether it has
// a deadline.
type deadlines struct {
	net.Conn
	comes []byte
	armed bool
}

func (d *deadlines) Read(p []byte) (int, error) { return copy(p, d.comes), nil }

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.armed = !at.IsZero()
	return nil
}

// A deadline stands while a header block is under way, or a frame of which it is not
// known yet, wherever reads part what comes; and at no other time.
func TestADeadlineForEachHeaderBlock(t *testing.T) {
	var sent bytes.Buffer
	inside := map[int]bool{} // how much has come
	_, _ = sent.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&sent, nil)
	write := func(frame func() error, isHead bool) {
		begin := sent.Len()
		if err := frame(); err != nil {
			t.Fatal(err)
		}
		for at := begin + 1; at < sent.Len(); at++ {
			inside[at] = isHead || at < begin+frameHead
		}
	}
	headers := func(stream uint32, ends bool, payload string) func() error {
		return func() error {
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte(payload), EndHeaders: ends})
		}
	}
	data := func() error { return f.WriteData(1, false, bytes.Repeat([]byte{1}, 300)) }
	write(func() error { return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 16}) }, false)
	write(headers(1, true, "\x82\x84"), true)
	write(data, false)
	write(headers(3, false, "\x82"), true)
	inside[sent.Len()] = true
	write(func() error { return f.WriteContinuation(3, false, nil) }, true)
	inside[sent.Len()] = true
	write(func() error { return f.WriteContinuation(3, true, []byte("\x84")) }, true)
	write(data, false)
	write(headers(5, true, ""), true)

	for _, step := range []int{1, 2, 7, 64, sent.Len()} {
		under := &deadlines{}
		c := &strictConn{Conn: under, limits: limits{header: time.Second}}
		for at := 0; at < sent.Len(); at += step {
			end := min(at+step, sent.Len())
			under.comes = sent.Bytes()[at:end]
			if _, err := c.Read(make([]byte, sent.Len())); err != nil {
				t.Fatal(err)
			}
			if under.armed != inside[end] {
				t.Errorf("%d bytes, %d at a time: a deadline is %t, want %t", end, step, under.armed, inside[end])
			}
		}
	}
}
