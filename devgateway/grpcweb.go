package devgateway

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// webCall is a call of gRPC-Web, which services are sent as gRPC: a page cannot read
// trailers, so that for it they are the last frame of the body
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
type webCall struct {
	kind   string // its Content-Type
	prefix string // of that, without the encoding of messages
	status string // of gRPC, once the call is over
}

const (
	webPrefix     = "application/grpc-web"
	webTextPrefix = "application/grpc-web-text" // all of the body in base64
	trailerFrame  = 0x80
)

// webCallOf is nil for any other request.
func webCallOf(h http.Header) *webCall {
	kind := h.Get("Content-Type")
	for _, prefix := range []string{webTextPrefix, webPrefix} {
		if strings.HasPrefix(kind, prefix) {
			return &webCall{kind: kind, prefix: prefix}
		}
	}
	return nil
}

func (c *webCall) text() bool { return c.prefix == webTextPrefix }

// toGRPC makes of a request the one that a service gets.
func (c *webCall) toGRPC(r *http.Request) {
	r.Header.Set("Content-Type", "application/grpc"+strings.TrimPrefix(c.kind, c.prefix))
	r.Header.Set("Te", "trailers")
	r.Header.Del("X-Grpc-Web")
	if c.text() {
		r.Header.Del("Content-Length")
		r.Body, r.ContentLength = &decodedBody{base64.NewDecoder(base64.StdEncoding, r.Body), r.Body}, -1
	}
}

type decodedBody struct {
	io.Reader
	io.Closer
}

// fromGRPC makes of an answer the one that the client gets, but for its last frame.
// What is no answer of gRPC stays as it is.
func (c *webCall) fromGRPC(res *http.Response) {
	rest, is := strings.CutPrefix(res.Header.Get("Content-Type"), "application/grpc")
	if !is {
		return
	}
	res.Header.Set("Content-Type", c.prefix+rest)
	if res.Header.Get("Grpc-Status") != "" {
		return // there is nothing more
	}
	res.Header.Del("Content-Length")
	res.ContentLength = -1
	if c.text() {
		res.Body = &encodedBody{ReadCloser: res.Body}
	}
}

// encodedBody gives out each part of a body that comes in base64 of its own.
type encodedBody struct {
	io.ReadCloser
	part [3 << 10]byte
	rest []byte
	err  error // behind rest
}

// Read implements io.Reader.
func (b *encodedBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		var n int
		n, b.err = b.ReadCloser.Read(b.part[:])
		b.rest = base64.StdEncoding.AppendEncode(b.rest[:0], b.part[:n])
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// lastFrame is the trailers of a call as its client gets them.
func (c *webCall) lastFrame(trailer http.Header) []byte {
	c.status = trailer.Get("Grpc-Status")
	frame := []byte{trailerFrame, 0, 0, 0, 0}
	for _, name := range slices.Sorted(maps.Keys(trailer)) {
		for _, value := range trailer[name] {
			frame = append(frame, strings.ToLower(name)+": "+value+"\r\n"...)
		}
	}
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-5))
	if c.text() {
		return base64.StdEncoding.AppendEncode(nil, frame)
	}
	return frame
}
