package devgateway

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// directBody is the body of an answer. At its end it gives its connection back.
type directBody struct {
	life  *life
	c     *directConn
	close bool          // the connection ends with the answer
	coded io.ReadCloser // net/http's; nil: left bytes are to come, as they are
	left  int64
	ended atomic.Bool
}

// newDirectBody returns the body of an answer whose head was read.
func newDirectBody(l *life, c *directConn, res *http.Response) *directBody {
	b := &directBody{life: l, c: c, close: res.Close, coded: res.Body, left: res.ContentLength}
	if b.coded == http.NoBody || b.coded == nil && b.left == 0 {
		b.coded = http.NoBody
		b.end(true)
	}
	return b
}

// Read implements io.Reader.
func (b *directBody) Read(p []byte) (n int, err error) {
	if b.coded != nil {
		n, err = b.coded.Read(p)
		return n, b.seen(err)
	}
	if b.left == 0 {
		return 0, b.seen(io.EOF)
	}
	n, err = b.c.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, b.seen(unexpected(err))
}

// rest is what is left of the body, if all of it is at hand. It is good until the body
// is read or closed.
func (b *directBody) rest() []byte {
	if b.coded != nil || int64(b.c.in.Buffered()) < b.left {
		return nil
	}
	rest, _ := b.c.in.Peek(int(b.left))
	return rest
}

// skip takes what rest has returned.
func (b *directBody) skip(n int) {
	_, _ = b.c.in.Discard(n)
	b.left -= int64(n)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// atHand says whether some of a body has come with its head, or all of it.
func atHand(body io.Reader) bool {
	b, ok := body.(*directBody)
	return ok && (b.ended.Load() || b.c.in.Buffered() > 0)
}

// await waits until some of the body has come, or its end.
func (b *directBody) await() {
	if b.coded != nil && !b.ended.Load() {
		_, _ = b.c.in.Peek(1) // what is wrong, Read says
	}
}

// Close ends an answer that was not read to its end, also while somebody reads.
func (b *directBody) Close() error {
	b.end(false)
	return nil
}

// seen ends the body where err does, and says why it did.
func (b *directBody) seen(err error) error {
	if err == nil {
		return nil
	}
	whole := errors.Is(err, io.EOF)
	b.end(whole)
	if ended := b.life.Err(); ended != nil && !whole {
		return ended
	}
	return err
}

func (b *directBody) end(whole bool) {
	if !b.ended.CompareAndSwap(false, true) {
		return
	}
	goesOn := b.life.goesOn()
	if !whole {
		b.c.Close() // and its buffer is left alone: somebody may be reading
		return
	}
	more := b.c.in.Buffered() > 0
	b.c.letGo()
	if !goesOn || b.close || more {
		b.c.Close()
		return
	}
	b.c.to.put(b.c)
}
