package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/ebef7166/mesh/devgateway"
	"github.com/ebef7166/mesh/manifest"
)

// links are the stable addresses: one for each declared call, and one for each
// service that fixes its port. They listen as long as the workspace runs,
// whatever the callee does.
type links struct {
	gateway *devgateway.Gateway
	state   *State
	serving *serving
	free    bool // fixed ports are replaced by free ones
	warn    func(string)

	mu     sync.Mutex
	bridge *containers // nil: none
	open   map[edge]*link
}

// Outside is the caller on the links, and the user of the broker, that a command
// has which is no service.
const Outside = "outside"

// edge is a declared call. The caller is empty for a fixed port.
type edge struct{ caller, callee string }

type link struct {
	edge
	port  int // that the manifest fixes; 0: none
	tcp   bool
	lns   []net.Listener // the last is the one that services are told
	close chan struct{}  // closed when it is not wanted any more
}

// newLink is a link to a callee, which is nil where it is no part of the run.
func newLink(e edge, callee *manifest.Service) *link {
	l := &link{edge: e, tcp: callee != nil && callee.Protocol == "tcp", close: make(chan struct{})}
	if e.caller == "" {
		l.port = callee.Port
	}
	return l
}

// serves reports that an open link is what a manifest wants now.
func (l *link) serves(callee *manifest.Service) bool {
	now := newLink(l.edge, callee)
	return now.port == l.port && (callee == nil || now.tcp == l.tcp)
}

// shut gives the ports up.
func (l *link) shut() {
	for _, ln := range l.lns {
		ln.Close()
	}
}

func (l *link) closed() bool {
	select {
	case <-l.close:
		return true
	default:
		return false
	}
}

func newLinks(g *devgateway.Gateway, s *State, serving *serving, free bool, warn func(string)) *links {
	return &links{gateway: g, state: s, serving: serving, free: free, warn: warn, open: map[edge]*link{}}
}

func (l *links) address(caller, callee string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if link := l.open[edge{caller, callee}]; link != nil {
		return link.lns[len(link.lns)-1].Addr().String()
	}
	return ""
}

// apply opens the links that the manifests declare and closes the others. They
// listen when it returns.
func (l *links) apply(ctx context.Context, services []*manifest.Service, outside bool) error {
	wanted := edges(services)
	if outside {
		for _, s := range services {
			if s.Listens() {
				wanted[edge{Outside, s.Name}] = s
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for e, link := range l.open {
		if callee, ok := wanted[e]; !ok || !link.serves(callee) {
			close(link.close)
			link.shut() // at once: its successor may want the same port
			delete(l.open, e)
		}
	}
	var failed []error
	for e, callee := range wanted {
		if l.open[e] == nil {
			failed = append(failed, l.add(ctx, e, callee))
		}
	}
	return errors.Join(failed...)
}

// edges are the declared calls and fixed ports, with the callee where it is part
// of the run.
func edges(services []*manifest.Service) map[edge]*manifest.Service {
	byName, wanted := map[string]*manifest.Service{}, map[edge]*manifest.Service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	for _, s := range services {
		for _, callee := range s.Calls {
			wanted[edge{s.Name, callee}] = byName[callee]
		}
		if s.KeepsPort() {
			wanted[edge{"", s.Name}] = s
		}
	}
	return wanted
}

// add begins to listen; l.mu is held.
func (l *links) add(ctx context.Context, e edge, callee *manifest.Service) error {
	ln, err := l.listen(ctx, e, callee)
	if err != nil {
		return err
	}
	lns := []net.Listener{ln}
	if l.bridge != nil {
		beside, err := l.bridge.also(ln)
		if err != nil {
			return errors.Join(e.failed(err), ln.Close())
		}
		lns = append(lns, beside)
	}
	link := newLink(e, callee)
	l.open[e] = link
	for _, ln := range lns {
		l.serveAlso(link, ln)
	}
	return nil
}

func (l *links) listen(ctx context.Context, e edge, callee *manifest.Service) (net.Listener, error) {
	what := "link from " + e.caller + " to " + e.callee
	switch {
	case e.caller == "" && l.free:
		what = "fixed port of " + e.callee
	case e.caller == "":
		ln, err := listen(callee.Port)
		if err != nil {
			err = busy(ctx, "127.0.0.1:"+strconv.Itoa(callee.Port), err)
			if taken, ok := errors.AsType[*BusyError](err); ok {
				taken.Service = callee.Name
			}
			return nil, fmt.Errorf("port %d of %s: %w", callee.Port, callee.Name, err)
		}
		return ln, nil
	}
	ln, moved, err := l.state.Listen(what)
	if moved != nil {
		l.warn(moved.String())
	}
	return ln, err
}

// FixedPort is a port that mesh keeps for a service.
type FixedPort struct {
	Service string `json:"service"`
	Port    int    `json:"port"` // as the manifest says
	URL     string `json:"url"`  // where mesh listens
}

// Instead says, in an isolated copy, that the port is another one there.
func (p FixedPort) Instead() string {
	if strings.HasSuffix(p.URL, ":"+strconv.Itoa(p.Port)) {
		return ""
	}
	return fmt.Sprintf(" (instead of %d: this is an isolated copy)", p.Port)
}

// FixedPorts are those of the services that run, by their names.
func (w *Workspace) FixedPorts() []FixedPort {
	ports := []FixedPort{} // an empty list in JSON, too
	w.links.mu.Lock()
	defer w.links.mu.Unlock()
	for _, s := range w.running() {
		if link := w.links.open[edge{"", s.Name}]; link != nil {
			ports = append(ports, FixedPort{s.Name, s.Port, linkURL(w.Manifest(), s.Name, link.lns[0].Addr().String())})
		}
	}
	return ports
}

// serve serves a listener of a link until the link is closed or ctx ends.
func (l *links) serve(ctx context.Context, link *link, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var closing sync.WaitGroup
	defer closing.Wait()
	defer cancel()
	closing.Go(func() {
		select {
		case <-link.close:
			cancel()
		case <-ctx.Done():
		}
	})
	serve := l.gateway.ServeLink
	if link.tcp {
		serve = l.gateway.ServeTCPLink
	}
	if err := serve(ctx, ln, link.caller, link.callee); err != nil && ctx.Err() == nil && !link.closed() {
		l.warn(fmt.Sprintf("the link from %s to %s ended: %v", link.caller, link.callee, err))
	}
	return nil
}

// join makes all links listen on the bridge too. On an error nothing has changed.
func (l *links) join(bridge *containers) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	beside := map[*link]net.Listener{}
	for _, link := range l.open {
		ln, err := bridge.also(link.lns[0])
		if err != nil {
			for _, ln := range beside {
				ln.Close()
			}
			return link.failed(err)
		}
		beside[link] = ln
	}
	l.bridge = bridge
	for link, ln := range beside {
		l.serveAlso(link, ln)
	}
	return nil
}

// serveAlso has a listener of a link served; l.mu is held.
func (l *links) serveAlso(link *link, ln net.Listener) {
	link.lns = append(link.lns, ln)
	l.serving.start(func(ctx context.Context) error { return l.serve(ctx, link, ln) })
}

func (e edge) failed(err error) error {
	return fmt.Errorf("the link from %s to %s: %w", e.caller, e.callee, err)
}

// shut closes the listeners of links that were never served.
func (l *links) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range l.open {
		link.shut()
	}
}
