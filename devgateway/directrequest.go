package devgateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// directRequest is a request as it is sent, in a buffer that is used again.
type directRequest struct{ data []byte }

var directRequests = sync.Pool{New: func() any { return &directRequest{make([]byte, 0, 2<<10)} }}

func (r *directRequest) free() {
	if r != nil && cap(r.data) <= 2*mostDirect {
		directRequests.Put(r)
	}
}

// newDirectRequest writes a request (RFC 9112, 3) with the headers of said beside its
// own, its body included, which was read before.
func newDirectRequest(req *http.Request, said []headerField) (*directRequest, error) {
	r := directRequests.Get().(*directRequest)
	out := r.data[:0]
	out = append(append(out, req.Method...), ' ')
	out = append(out, req.URL.RequestURI()...)
	out = append(append(out, " HTTP/1.1\r\nHost: "...), hostOf(req)...)
	out = append(out, "\r\n"...)
	out, err := appendHeader(out, req.Header)
	for _, f := range said {
		if err == nil {
			out, err = appendField(out, f.name, f.value)
		}
	}
	if err != nil {
		return nil, err
	}
	if req.ContentLength > 0 || req.Method == http.MethodPost || req.Method == http.MethodPut || req.Method == http.MethodPatch {
		out = strconv.AppendInt(append(out, "Content-Length: "...), req.ContentLength, 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	r.data, err = appendBody(out, req)
	return r, err
}

func appendHeader(out []byte, header http.Header) (_ []byte, err error) {
	for name, values := range header {
		for _, value := range values {
			if out, err = appendField(out, name, value); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func appendField(out []byte, name, value string) ([]byte, error) {
	if ownHeader(name) {
		return out, nil
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return nil, errors.New("the value of the header " + name + " is not valid")
	}
	return append(append(append(append(out, name...), ": "...), value...), "\r\n"...), nil
}

func hostOf(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
}

// ownHeader names what says how the request is framed.
func ownHeader(name string) bool {
	switch name {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection":
		return true
	}
	return false
}

func appendBody(out []byte, req *http.Request) ([]byte, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return out, nil
	}
	at, n := len(out), int(req.ContentLength)
	out = append(out, make([]byte, n)...)
	if _, err := io.ReadFull(req.Body, out[at:]); err != nil {
		return out[:at], err
	}
	return out, nil
}
