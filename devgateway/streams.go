package devgateway

import (
	"net/http"
	"strings"
	"sync"
)

// streams knows the answers that have no end of their own, so that they can
// be ended. Only they take its lock, once at each end.
type streams struct {
	mu     sync.Mutex
	open   map[*exchange]struct{}
	ending map[any]bool // endpoints and servers on which no stream may go on
}

func (s *streams) init() {
	s.open, s.ending = make(map[*exchange]struct{}), make(map[any]bool)
}

// add registers a stream, or ends it when it comes too late.
func (s *streams) add(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[x] = struct{}{}
	if s.ending[x.endpoint] || x.server != nil && s.ending[x.server] {
		x.end()
	}
}

func (s *streams) remove(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, x)
}

// endAll ends the streams on an endpoint or a server, those that are still to
// come included.
func (s *streams) endAll(on any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending[on] = true
	for x := range s.open {
		if x.endpoint == on || x.server == on {
			x.end()
		}
	}
}

// forget drops what is known about an endpoint or a server that nothing is
// left on.
func (s *streams) forget(on any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ending, on)
}

// isStream says whether an answer may go on for as long as it likes. A unary
// gRPC answer has one message and ends with it, so that to take it for a
// stream changes nothing.
func isStream(res *http.Response) bool {
	if res.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	kind := res.Header.Get("Content-Type")
	return strings.HasPrefix(kind, "text/event-stream") || strings.HasPrefix(kind, "application/grpc") ||
		strings.HasPrefix(kind, "application/connect+")
}
