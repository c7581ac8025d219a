package devgateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// move is what a client of HTTP/2 sends once the connection stands.
type move func(f *framer) error

func raw(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) move {
	return func(f *framer) error { return f.WriteRawFrame(kind, flags, stream, []byte(payload)) }
}

// fields is a request of these fields, on stream 1.
func fields(pairs ...string) move {
	return func(f *framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block(pairs...), EndStream: true, EndHeaders: true})
	}
}

// begun begins a request on a stream whose body is still to come.
func begun(stream uint32, more ...string) move {
	return func(f *framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(request("POST", "/bad", more...)...), EndHeaders: true})
	}
}

func asked(stream uint32) move {
	return func(f *framer) error { return f.get(stream, "/bad") }
}

func moves(all ...move) move {
	return func(f *framer) error {
		for _, m := range all {
			if err := m(f); err != nil {
				return err
			}
		}
		return nil
	}
}

func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

func setting(id http2.SettingID, value uint32) move {
	return raw(http2.FrameSettings, 0, 0, string(binary.BigEndian.AppendUint16(nil, uint16(id)))+u32(value))
}

// violations are what h2spec tries, by section of RFC 9113, and requests that are
// malformed after its section 8.
func violations() map[string]move {
	good := request("GET", "/bad")
	without := func(name string) []string {
		i := slices.Index(good, name)
		return slices.Delete(slices.Clone(good), i, i+2)
	}
	return map[string]move{
		"4.2 a frame that is too long":              raw(http2.FrameData, 0, 1, strings.Repeat("x", 1<<14+1)),
		"4.3 a header block that does not decode":   raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, "\xff\xff\xff\xff\xff\xff"),
		"4.3 another frame inside a header block":   moves(raw(http2.FrameHeaders, 0, 1, "\x82"), raw(http2.FramePing, 0, 0, "12345678")),
		"4.3 another stream inside a header block":  moves(raw(http2.FrameHeaders, 0, 1, "\x82"), raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, "\x84")),
		"5.1 DATA on an idle stream":                raw(http2.FrameData, 0, 1, "x"),
		"5.1 RST_STREAM on an idle stream":          raw(http2.FrameRSTStream, 0, 1, u32(8)),
		"5.1 WINDOW_UPDATE on an idle stream":       raw(http2.FrameWindowUpdate, 0, 1, u32(1)),
		"5.1 CONTINUATION on an idle stream":        raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, ""),
		"5.1.1 an even stream":                      asked(2),
		"5.1.1 a stream below the last":             moves(asked(5), asked(3)),
		"5.3 a stream that depends on itself":       raw(http2.FrameHeaders, http2.FlagHeadersPriority|http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, u32(1)+"\x00\x82\x86\x84"),
		"6.1 DATA on the connection":                raw(http2.FrameData, 0, 0, "x"),
		"6.1 DATA that is all padding and more":     moves(begun(1), raw(http2.FrameData, http2.FlagDataPadded, 1, "\x06hello")),
		"6.2 HEADERS on the connection":             raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, "\x82"),
		"6.2 HEADERS that are all padding and more": raw(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders, 1, "\x08\x82\x86\x84"),
		"6.3 PRIORITY on the connection":            raw(http2.FramePriority, 0, 0, u32(1)+"\x00"),
		"6.3 PRIORITY of another length":            raw(http2.FramePriority, 0, 1, u32(3)),
		"6.4 RST_STREAM on the connection":          raw(http2.FrameRSTStream, 0, 0, u32(8)),
		"6.4 RST_STREAM of another length":          moves(begun(1), raw(http2.FrameRSTStream, 0, 1, "x")),
		"6.5 SETTINGS on a stream":                  raw(http2.FrameSettings, 0, 1, ""),
		"6.5 SETTINGS of another length":            raw(http2.FrameSettings, 0, 0, "xyz"),
		"6.5 an acknowledgement with a payload":     raw(http2.FrameSettings, http2.FlagSettingsAck, 0, "\x00\x03\x00\x00\x00\x01"),
		"6.5.2 ENABLE_PUSH of 2":                    setting(http2.SettingEnablePush, 2),
		"6.5.2 a window that is too large":          setting(http2.SettingInitialWindowSize, 1<<31),
		"6.5.2 frames that are too short":           setting(http2.SettingMaxFrameSize, 1<<14-1),
		"6.5.2 frames that are too long":            setting(http2.SettingMaxFrameSize, 1<<24),
		"6.6 PUSH_PROMISE of a client":              raw(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, u32(2)+"\x82"),
		"6.7 PING on a stream":                      raw(http2.FramePing, 0, 1, "12345678"),
		"6.7 PING of another length":                raw(http2.FramePing, 0, 0, "1234"),
		"6.8 GOAWAY on a stream":                    raw(http2.FrameGoAway, 0, 1, u32(0)+u32(0)),
		"6.9 a window that grows by nothing":        raw(http2.FrameWindowUpdate, 0, 0, u32(0)),
		"6.9 a stream's window that grows by none":  moves(begun(1), raw(http2.FrameWindowUpdate, 0, 1, u32(0))),
		"6.9 WINDOW_UPDATE of another length":       raw(http2.FrameWindowUpdate, 0, 0, "123"),
		"6.9.1 a window that grows too large":       moves(raw(http2.FrameWindowUpdate, 0, 0, u32(1<<31-1)), raw(http2.FrameWindowUpdate, 0, 0, u32(1<<31-1))),
		"6.10 CONTINUATION after the end":           moves(raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x82\x86\x84"), raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "")),
		"8.1 trailers that do not end the stream":   moves(begun(1), begunTrailers(1, false, "a", "b")),
		"8.1 trailers with a pseudo header":         moves(begun(1), begunTrailers(1, true, ":path", "/bad")),
		"8.1.1 more than content-length":            moves(begun(1, "content-length", "1"), raw(http2.FrameData, http2.FlagDataEndStream, 1, "four")),
		"8.1.1 less than content-length":            moves(begun(1, "content-length", "9"), raw(http2.FrameData, http2.FlagDataEndStream, 1, "four")),
		"8.1.1 content-length and no body":          fields(append(slices.Clone(good), "content-length", "1")...),
		"8.2.1 a name in capitals":                  fields(append(slices.Clone(good), "X-Capital", "a")...),
		"8.2.1 a name with a space":                 fields(append(slices.Clone(good), "a b", "a")...),
		"8.2.1 a name with a colon":                 fields(append(slices.Clone(good), "a:b", "a")...),
		"8.2.1 a value with a line end":             fields(append(slices.Clone(good), "a", "b\r\nX-Forwarded-User: mallory")...),
		"8.2.1 a value with a NUL":                  fields(append(slices.Clone(good), "a", "b\x00c")...),
		"8.2.2 connection":                          fields(append(slices.Clone(good), "connection", "x-forwarded-user")...),
		"8.2.2 transfer-encoding":                   fields(append(slices.Clone(good), "transfer-encoding", "chunked")...),
		"8.2.2 upgrade":                             fields(append(slices.Clone(good), "upgrade", "h2c")...),
		"8.2.2 te":                                  fields(append(slices.Clone(good), "te", "gzip")...),
		"8.3 an unknown pseudo header":              fields(append(slices.Clone(good), ":user", "root")...),
		"8.3 a pseudo header of an answer":          fields(append(slices.Clone(good), ":status", "200")...),
		"8.3 a pseudo header behind others":         fields(append([]string{"a", "b"}, good...)...),
		"8.3.1 two paths":                           fields(append(slices.Clone(good), ":path", "/other")...),
		"8.3.1 no method":                           fields(without(":method")...),
		"8.3.1 no scheme":                           fields(without(":scheme")...),
		"8.3.1 no path":                             fields(without(":path")...),
		"8.3.1 an empty path":                       fields(request("GET", "")...),
		"8.3.1 a path without a slash":              fields(request("GET", "bad")...),
		"8.3.1 an asterisk":                         fields(request("GET", "*")...),
		"8.3.1 a whole URL for a path":              fields(request("GET", "http://localhost/bad")...),
		"8.3.1 a path with a space":                 fields(request("GET", "/bad HTTP/1.1")...),
		"8.3.1 a host with a user":                  fields(":method", "GET", ":scheme", "http", ":authority", "a@localhost", ":path", "/bad"),
		"8.3.1 a host that is another's":            fields(":method", "GET", ":scheme", "http", ":authority", "evil.example", ":path", "/bad"),
		"8.3.1 two hosts":                           fields(append(slices.Clone(good), "host", "evil.example")...),
		"8.5 CONNECT":                               fields(":method", "CONNECT", ":authority", "localhost:1"),
		"8.5 CONNECT with a path":                   fields(request("CONNECT", "/bad")...),
		"RFC 8441 extended CONNECT, not agreed on":  fields(request("CONNECT", "/bad", ":protocol", "websocket")...),
		"identity under another spelling":           fields(append(slices.Clone(good), "x_forwarded_user", "mallory")...),
		"two authorizations":                        fields(request("GET", "/guarded", "authorization", "Bearer alice", "authorization", "Bearer admin")...),
		"an encoded way out":                        fields(request("GET", "/x/%2e%2e/bad")...),
	}
}

func begunTrailers(stream uint32, end bool, pairs ...string) move {
	return func(f *framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(pairs...), EndStream: end, EndHeaders: true})
	}
}

// TestHTTP2Violations sends each over a connection of its own: it is refused by an
// error of the connection or of the stream, or by a status, and no whole request
// arrives; others are served before and after.
func TestHTTP2Violations(t *testing.T) {
	all := violations()
	if len(all) < 70 {
		t.Errorf("only %d violations", len(all))
	}
	var mu sync.Mutex
	arrived := map[string]bool{}
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone}, Route{Service: "s", Prefix: "/guarded"})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, req *http.Request) {
		if _, err := io.Copy(io.Discard, req.Body); err == nil && req.URL.Path != "/good" {
			mu.Lock()
			defer mu.Unlock()
			arrived[req.URL.Path] = true
		}
	})))
	n := 0
	for name, m := range all {
		n++
		tag := fmt.Sprint("-", n, "-")
		status, err := r.violate(m, tag)
		refused := err != nil && !isTimeout(err) || strings.HasPrefix(status, "4") || strings.HasPrefix(status, "5") || strings.HasPrefix(status, "reset") || strings.HasPrefix(status, "goaway")
		mu.Lock()
		for path := range arrived {
			// A stream that was right until the violation may arrive.
			if strings.Contains(path, tag) && !strings.HasPrefix(name, "5.1.1 a stream below") {
				t.Errorf("%s: it arrived as %q", name, path)
			}
		}
		mu.Unlock()
		if !refused {
			t.Errorf("%s: %q %v", name, status, err)
		}
	}
	if got := r.do("GET", "/good", nil); got.StatusCode != http.StatusOK {
		t.Errorf("another's request: %s", got.Status)
	}
}

// violate makes a move on a new connection and returns the first refusal.
func (r *rig) violate(m move, tag string) (status string, err error) {
	f, err := r.framer()
	if err != nil {
		return "", err
	}
	defer f.conn.Close()
	f.tag = tag
	if err := f.WriteSettings(); err != nil {
		return "", err
	}
	if err := m(f); err != nil {
		return "", err
	}
	return f.status(1)
}

func TestHTTP2IsOtherwiseLenient(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, seen)))
	for name, m := range map[string]move{
		"an unknown frame":   moves(raw(0xee, 0, 0, "?"), asked(1)),
		"an unknown setting": moves(setting(0xee, 7), asked(1)),
		"padding":            raw(http2.FrameHeaders, http2.FlagHeadersPadded|http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, "\x02\x82\x86\x84\x41\x09localhost\x00\x00"),
		"te: trailers":       fields(append(request("GET", "/"), "te", "trailers")...),
		"CONTINUATION":       moves(raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, "\x82\x86"), raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "\x84\x41\x09localhost")),
	} {
		f, err := r.framer()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		if err := m(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if status, err := f.status(1); status != "200" {
			t.Errorf("%s: %q %v", name, status, err)
		}
		f.conn.Close()
	}
}

// flood sends moves until the gateway ends the connection, at most n of them, and
// reads nothing meanwhile unless it is told to.
func (r *rig) flood(n int, reads bool, first, m move) (sent int, ended bool) {
	r.t.Helper()
	f, err := r.framer()
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.conn.Close()
	r.flooding.Store(f)
	if err := smallBuffer(f.conn); err != nil {
		r.t.Fatal(err)
	}
	if reads {
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = io.Copy(io.Discard, f.conn) })
		defer reading.Wait()
		defer f.conn.Close()
	}
	if err := f.WriteSettings(); err != nil {
		r.t.Fatal(err)
	}
	if err := first(f); err != nil {
		r.t.Fatal(err)
	}
	for sent = range n {
		if m(f) != nil {
			return sent, true
		}
	}
	return n, false
}

// TestHTTP2Floods: each ends with the connection, or costs no memory; others are
// served.
func TestHTTP2Floods(t *testing.T) {
	nothing := func(*framer) error { return nil }
	stream := uint32(1)
	malformed := func(f *framer) error {
		stream += 2
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(request("GET", "/bad", "X-Capital", "a")...), EndStream: true, EndHeaders: true})
	}
	for name, tt := range map[string]struct {
		n        int
		reads    bool
		ends     bool
		first, m move
	}{
		"rapid reset": {5_000, true, false, nothing, func(f *framer) error {
			stream += 2
			if err := f.get(stream, "/"); err != nil {
				return err
			}
			return f.WriteRSTStream(stream, http2.ErrCodeCancel)
		}},
		"made-you-reset": {5_000, true, false, nothing, func(f *framer) error { // the gateway is made to reset what it has begun
			stream += 2
			return moves(asked(stream), raw(http2.FrameWindowUpdate, 0, stream, u32(0)))(f)
		}},
		"malformed requests": {20_000, true, false, nothing, malformed},
		"the same, unread":   {2_000_000, false, true, nothing, malformed},
		"CONTINUATION":       {100_000, false, true, raw(http2.FrameHeaders, 0, 1, "\x82"), raw(http2.FrameContinuation, 0, 1, strings.Repeat("\x00\x01a\x01b", 3000))},
		"empty ones":         {50_000, false, false, raw(http2.FrameHeaders, 0, 1, "\x82"), raw(http2.FrameContinuation, 0, 1, "")},
		"SETTINGS":           {50_000, false, false, nothing, setting(http2.SettingMaxConcurrentStreams, 7)},
		"PING":               {2_000_000, false, true, nothing, raw(http2.FramePing, 0, 0, "12345678")},
		"WINDOW_UPDATE":      {50_000, true, false, nothing, raw(http2.FrameWindowUpdate, 0, 0, u32(1))},
		"PRIORITY":           {50_000, true, false, nothing, func(f *framer) error { stream += 2; return raw(http2.FramePriority, 0, stream, u32(0)+"\x00")(f) }},
		"a HPACK bomb":       {200, true, false, nothing, bomb()},
		"unknown frames":     {50_000, true, false, nothing, raw(0xee, 0, 0, "?")},
		"streams at once":    {2_000_000, false, true, nothing, func(f *framer) error { stream += 2; return begun(stream)(f) }},
	} {
		t.Run(name, func(t *testing.T) {
			stream = 1
			// A server that cannot write may stop to read, too; then its patience ends the flood.
			r := prepareRig(t, Config{limits: &limits{time.Minute, time.Minute, 500 * time.Millisecond}}, Route{Service: "s", Prefix: "/", Auth: AuthNone})
			r.addr, r.stop = r.listen(func(ctx context.Context, ln net.Listener) error { return r.Serve(ctx, smallListener{ln, &r.flooding}) })
			r.url = "http://" + r.addr
			r.SetInstances(one("s", upstream(t, seen)))
			before := heap()
			sent, ended := r.flood(tt.n, tt.reads, tt.first, tt.m)
			if tt.ends && !ended {
				t.Errorf("the connection stands after %d", sent)
			}
			if got := r.do("GET", "/", nil); got.StatusCode != http.StatusOK {
				t.Errorf("another's request: %s", got.Status)
			}
			if grown := heap() - before; grown > 32<<20 {
				t.Errorf("%d MiB more after %d", grown>>20, sent)
			}
			t.Logf("%d sent, ended: %t", sent, ended)
		})
	}
}

// smallListener keeps the system from holding answers that nobody reads: the
// gateway itself must not, either. Whoever floods hears of it at once when the
// gateway ends the connection; the system may take its time to tell a client that
// does not read.
type smallListener struct {
	net.Listener
	flooding *atomic.Pointer[framer]
}

func (l smallListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &smallConn{conn, l.flooding}, conn.(*net.TCPConn).SetWriteBuffer(4 << 10)
}

type smallConn struct {
	net.Conn
	flooding *atomic.Pointer[framer]
}

func (c *smallConn) Close() error {
	if f := c.flooding.Load(); f != nil && f.conn.LocalAddr().String() == c.RemoteAddr().String() {
		f.conn.Close()
	}
	return c.Conn.Close()
}

// bomb is a header that is put into HPACK's table once and then named 4000 times a
// request.
func bomb() move {
	stream := uint32(1)
	return func(f *framer) error {
		block := append(f.block(append(request("GET", "/"), "a", strings.Repeat("b", 3900))...), bytes.Repeat([]byte{0xbe}, 4000)...)
		stream += 2
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: true, EndHeaders: true})
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
