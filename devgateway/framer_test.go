package devgateway

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// framer is a client of HTTP/2 that says what it likes.
type framer struct {
	*http2.Framer
	conn net.Conn
	tag  string // behind each /bad

	mu     sync.Mutex // of writes
	buffer bytes.Buffer
	hpack  *hpack.Encoder
}

// framer connects and begins HTTP/2 (RFC 9113, 3.4); the caller sends the first
// SETTINGS.
func (r *rig) framer() (*framer, error) {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	f := &framer{Framer: http2.NewFramer(conn, conn), conn: conn}
	f.AllowIllegalWrites, f.AllowIllegalReads = true, true
	f.hpack = hpack.NewEncoder(&f.buffer)
	return f, nil
}

// block encodes headers; pairs of name and value.
func (f *framer) block(pairs ...string) []byte {
	f.buffer.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = f.hpack.WriteField(hpack.HeaderField{Name: pairs[i], Value: strings.ReplaceAll(pairs[i+1], "/bad", "/bad"+f.tag)})
	}
	return bytes.Clone(f.buffer.Bytes())
}

func request(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "http", ":authority", "localhost", ":path", path}, more...)
}

func (f *framer) get(stream uint32, path string) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(request("GET", path)...), EndStream: true, EndHeaders: true})
}

// frames hands over what comes until see is done; pings and settings are answered.
func (f *framer) frames(see func(http2.Frame) (done bool, err error)) error {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		if done, err := see(frame); done || err != nil {
			return err
		}
		f.mu.Lock()
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				err = f.WritePing(true, frame.Data)
			}
		}
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// status waits for the answer on a stream.
func (f *framer) status(stream uint32) (status string, err error) {
	err = f.frames(func(frame http2.Frame) (bool, error) {
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			if frame.StreamID != stream {
				return false, nil
			}
			fields, err := hpack.NewDecoder(4096, nil).DecodeFull(frame.HeaderBlockFragment())
			if err != nil || len(fields) == 0 {
				return true, fmt.Errorf("an answer with %d headers: %w", len(fields), err)
			}
			status = fields[0].Value
			return true, nil
		case *http2.RSTStreamFrame:
			status = "reset " + frame.ErrCode.String()
			return frame.StreamID == stream, nil
		case *http2.GoAwayFrame:
			status = "goaway " + frame.ErrCode.String()
			return true, nil
		}
		return false, nil
	})
	return status, err
}
