package workspace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports are taken from below the ephemeral range of Linux (32768) and of IANA
// (49152), so that no outgoing connection of anybody holds one by chance.
const (
	lowestPort  = 20000
	highestPort = 32000
)

// Moved says that a kept port was busy and another was taken.
type Moved struct {
	What     string
	From, To int
}

func (m Moved) String() string {
	return fmt.Sprintf("port %d of the %s is busy; it listens on %d from now on", m.From, m.What, m.To)
}

// Listen listens on the loopback port kept under what, or on a new one which it
// keeps. moved is not nil when the kept one was busy.
func (s *State) Listen(what string) (net.Listener, *Moved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.kept.Ports[what]
	if kept != 0 {
		if ln, err := listen(kept); err == nil {
			return ln, nil, nil
		}
	}
	ln, port, err := s.listenFree()
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the %s: %w", what, err)
	}
	s.kept.Ports[what] = port
	var moved *Moved
	if kept != 0 {
		moved = &Moved{What: what, From: kept, To: port}
	}
	if err := s.save(); err != nil {
		return nil, nil, errors.Join(err, ln.Close())
	}
	return ln, moved, nil
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// listenFree tries ports that nobody has kept; s.mu is held.
func (s *State) listenFree() (net.Listener, int, error) {
	taken := map[int]bool{}
	for _, port := range s.kept.Ports {
		taken[port] = true
	}
	var last error
	for range 200 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if taken[port] {
			continue
		}
		ln, err := listen(port)
		if err == nil {
			return ln, port, nil
		}
		if last = err; errors.Is(err, syscall.EMFILE) {
			break
		}
	}
	return nil, 0, last
}

// freePort finds a port for an instance. Nothing holds it until the instance
// does; one that loses the race is started again with another.
func (s *State) freePort() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ln, port, err := s.listenFree()
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return port, ln.Close()
}
