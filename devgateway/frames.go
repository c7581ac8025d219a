package devgateway

import "encoding/binary"

// frames follows the frames of an HTTP/2 connection (RFC 9113, 4.1), as far as to
// know whether a header block is under way (4.3). Nothing else can come on the
// connection until that is over.
type frames struct {
	head  []byte // of a frame whose head has not come whole
	skip  int64  // bytes of the preface, or of a payload, that are still to come
	block bool   // a header block has begun
	ends  bool   // with the payload that is skipped
}

const (
	frameHead         = 9 // bytes
	frameHeaders      = 1
	frameContinuation = 9
	flagEndHeaders    = 4
	prefaceRest       = 8 // bytes of the preface (3.4) behind its first line
)

func newFrames() *frames { return &frames{skip: prefaceRest} }

// scan takes in what came, and says whether it ends inside a header block, or inside
// the head of a frame, which may be one.
func (f *frames) scan(p []byte) bool {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, int64(len(p)))
			f.skip, p = f.skip-n, p[n:]
		} else {
			n := min(frameHead-len(f.head), len(p))
			f.head, p = append(f.head, p[:n]...), p[n:]
			f.begin()
		}
		if f.skip == 0 && f.ends {
			f.block, f.ends = false, false
		}
	}
	return f.block || len(f.head) > 0
}

// begin looks at the head of a frame once it is whole.
func (f *frames) begin() {
	if len(f.head) < frameHead {
		return
	}
	length, kind, flags := binary.BigEndian.Uint32(f.head)>>8, f.head[3], f.head[4]
	f.head, f.skip = f.head[:0], int64(length)
	if kind == frameHeaders || kind == frameContinuation {
		f.block, f.ends = true, flags&flagEndHeaders != 0
	}
}
