package devgateway

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strings"
)

// plainAnswer takes the head of an answer off the connection if all of it has come
// and there is nothing about it that needs a second thought: HTTP/1.1, a length, and
// no word about the connection. That is most answers, and costs half of what
// http.ReadResponse does; it returns nil for all others, of which nothing is taken.
func (c *directConn) plainAnswer(req *http.Request) *http.Response {
	if _, err := c.in.Peek(1); err != nil { // waits for the instance
		return nil
	}
	come, _ := c.in.Peek(c.in.Buffered())
	end := bytes.Index(come, []byte("\r\n\r\n"))
	if end < 0 || req.Method == http.MethodHead {
		return nil
	}
	res := plainHead(come[:end+2])
	if res != nil {
		_, _ = c.in.Discard(end + len("\r\n\r\n")) // it is in the buffer
		res.Request = req
	}
	return res
}

// plainHead reads a head without the empty line at its end.
func plainHead(head []byte) *http.Response {
	text := string(head) // all strings of the answer are pieces of it
	end := strings.Index(text, "\r\n")
	res := plainStatus(head[:end], text[:end])
	if res == nil {
		return nil
	}
	n := strings.Count(text, "\n") - 1
	res.Header = make(http.Header, n)
	values := make([]string, n) // one array for all of them
	for i := range n {
		begin := end + len("\r\n")
		size := strings.Index(text[begin:], "\r\n")
		if size < 0 {
			return nil
		}
		end = begin + size
		if !plainField(res, head[begin:end], text[begin:end], values[i:i:i+1]) {
			return nil
		}
	}
	if res.ContentLength < 0 {
		return nil
	}
	return res
}

// plainStatus reads a status line (RFC 9112, 4).
func plainStatus(line []byte, text string) *http.Response {
	status, found := strings.CutPrefix(text, "HTTP/1.1 ")
	if !found || len(status) < 4 || status[3] != ' ' || !plain(line) {
		return nil
	}
	code, ok := number(line[len("HTTP/1.1 "):][:3], 10)
	if !ok || code < 200 || code == http.StatusNoContent || code == http.StatusNotModified {
		return nil
	}
	return &http.Response{Status: status, StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1}
}

// plainField reads a line of a head into an answer, with room for its value, and says
// whether that was all to it.
func plainField(res *http.Response, line []byte, text string, room []string) bool {
	name, value, ok := field(line)
	if !ok || !plain(line) {
		return false
	}
	key := textproto.CanonicalMIMEHeaderKey(text[:len(name)])
	before := res.Header[key]
	switch key {
	case "Connection", "Pragma", "Trailer", "Transfer-Encoding", "Upgrade":
		return false
	case "Content-Length":
		if res.ContentLength, ok = number(value, 10); !ok || before != nil {
			return false
		}
	}
	if before == nil {
		before = room
	}
	res.Header[key] = append(before, textproto.TrimString(text[len(name)+1:]))
	return true
}
