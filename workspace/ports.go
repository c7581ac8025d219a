package workspace

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
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

// moved is nil where nothing was kept (from is 0), or it is still the same.
func moved(what string, from, to int) *Moved {
	if from == 0 || from == to {
		return nil
	}
	return &Moved{What: what, From: from, To: to}
}

func (m Moved) String() string {
	return fmt.Sprintf("port %d of the %s is busy; it listens on %d from now on", m.From, m.What, m.To)
}

// Listen listens on the loopback port kept under what, or on a new one which it
// keeps; Save writes that down. moved is not nil when the kept one was busy.
func (s *State) Listen(what string) (net.Listener, *Moved, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.kept.Ports[what]
	if kept != 0 && !s.fixed[kept] {
		if ln, err := listen(kept); err == nil {
			return ln, nil, nil
		}
	}
	ln, port, err := s.listenFree()
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the %s: %w", what, err)
	}
	s.kept.Ports[what], s.dirty = port, true
	return ln, moved(what, kept, port), nil
}

// Fix has Listen leave ports alone that the manifest gives to somebody.
func (s *State) Fix(ports map[int]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fixed = ports
}

// ListenBoth is Listen for TCP and for the UDP port of the same number.
func (s *State) ListenBoth(what string) (tcp net.Listener, udp net.PacketConn, _ *Moved, err error) {
	s.mu.Lock()
	kept := s.kept.Ports[what]
	s.mu.Unlock()
	for range 20 {
		if tcp, _, err = s.Listen(what); err != nil {
			return nil, nil, nil, err
		}
		if udp, err = net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return tcp, udp, moved(what, kept, tcp.Addr().(*net.TCPAddr).Port), nil
		}
		tcp.Close()
		s.forget(what)
	}
	return nil, nil, nil, fmt.Errorf("listen for the %s: %w", what, err)
}

func (s *State) forget(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept.Ports, what)
	s.dirty = true
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

// unlisten frees a port for another to listen at. What copies our file table, such as
// a fork, holds the port until it has closed what it does not need.
func unlisten(ln net.Listener) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return ln.Close()
}

// listenFree tries ports that nobody has kept; s.mu is held.
func (s *State) listenFree() (net.Listener, int, error) {
	var last error
	for range 200 {
		port := lowestPort + rand.IntN(highestPort-lowestPort)
		if s.fixed[port] || s.keeps(port) {
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

// keeps reports that a port is kept for somebody; s.mu is held.
func (s *State) keeps(port int) bool {
	for _, kept := range s.kept.Ports {
		if kept == port {
			return true
		}
	}
	return false
}

// reservations are the ports of instances. Nothing can hold a TCP port for
// another program, so mesh holds the UDP port of the same number: that keeps the
// copies of mesh on a machine, which all do so, out of each other's way.
type reservations struct {
	mu   sync.Mutex
	held map[string]net.PacketConn // by instance, or furtherPort of one
}

// take finds an address for an instance and gives up the one that it had before.
func (r *reservations) take(s *State, instance string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.held[instance]; old != nil {
		old.Close()
		delete(r.held, instance)
	}
	for range 20 {
		address, hold, err := s.reserve()
		if err != nil {
			return "", err
		}
		if hold != nil {
			if r.held == nil {
				r.held = map[string]net.PacketConn{}
			}
			r.held[instance] = hold
			return address, nil
		}
	}
	return "", errors.New("find a free port: all that were tried are reserved")
}

// give gives up what is held for an instance, its further ports too.
func (r *reservations) give(instance string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, hold := range r.held {
		if name == instance || strings.HasPrefix(name, furtherPort(instance, "")) {
			hold.Close()
			delete(r.held, name)
		}
	}
}

// at is the address that is held for an instance; "": none.
func (r *reservations) at(instance string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if hold := r.held[instance]; hold != nil {
		return hold.LocalAddr().String()
	}
	return ""
}

// reserve finds a port that is free for TCP and holds it for UDP; hold is nil
// when another mesh holds it.
func (s *State) reserve() (address string, hold net.PacketConn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ln, _, err := s.listenFree()
	if err != nil {
		return "", nil, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { err = errors.Join(err, unlisten(ln)) }()
	address = ln.Addr().String()
	hold, err = net.ListenPacket("udp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", nil, nil
	}
	return address, hold, err
}

func (r *reservations) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, hold := range r.held {
		hold.Close()
	}
	r.held = nil
}
