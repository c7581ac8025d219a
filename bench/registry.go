package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	registryInstances = 1000
	registryServices  = 100
	registryClients   = 64
	registryLookups   = 10_000
	registryWatchers  = 200
	registryChanges   = 100
	registryPace      = 20 * time.Millisecond
)

// peer is a registry that is measured: mesh's by Consul's HTTP API, etcd by gRPC,
// NATS by its key/value buckets.
type peer interface {
	// register puts an instance, for as long as it is heard of.
	register(service, id, value string) error
	// stop ends the server.
	stop()
}

// finder is a peer whose lookups are compared.
type finder interface {
	// lookup returns how many instances a service has.
	lookup(service string) (int, error)
}

// watcher is a peer whose deliveries are compared.
type watcher interface {
	peer
	// watch calls seen with each value that an instance of service gets, on a
	// connection of its own, until ctx ends. It returns once it watches.
	watch(ctx context.Context, service string, seen func(value string)) error
}

// registry compares mesh's registry with etcd, which keeps such data for a
// living, and the delivery of its changes with NATS.
func (b *bench) registry() {
	if _, err := exec.LookPath("etcd"); err != nil {
		fmt.Println("registry: etcd is missing (Debian: etcd-server)")
		b.short++
		return
	}
	var own, etcd, nats, least registryFigures
	for range b.runs {
		own.add(b.meshPeer())
		etcd.add(b.etcdPeer())
		nats.add(b.natsPeer())
		least.add(b.leastPeer())
	}
	b.ratio("registry: lookups, beside etcd", own.lookups, etcd.lookups, 5)
	b.ratio("registry: registrations, beside etcd", own.registrations, etcd.registrations, 20)
	lost := registryWatchers*registryChanges*b.runs - own.delivered
	b.report("registry: changes to 200 watchers", fmt.Sprintf("%d missing or twice", max(lost, -lost)), "0", lost == 0)
	fmt.Printf("%-44s lookups %.1f × etcd, registrations %.1f × etcd, delivery %.2f × NATS\n", "registry: the least behind HTTP",
		faster(least.lookups, etcd.lookups), faster(least.registrations, etcd.registrations), 1/faster(least.p99, nats.p99))
	bound := median(nats.p99) / 2
	b.report("registry: delivery, 99 of 100", ms(median(own.p99)), fmt.Sprintf("≤ 0.5 × NATS' %s", ms(median(nats.p99))), median(own.p99) <= bound)
}

func (b *bench) ratio(name string, own, other []time.Duration, times float64) {
	got := faster(own, other)
	b.report(name, fmt.Sprintf("%.1f × (%.0f/s, %.0f/s)", got, perSecond(own), perSecond(other)), fmt.Sprintf("≥ %.0f ×", times), got >= times)
}

func faster(own, other []time.Duration) float64 { return float64(median(other)) / float64(median(own)) }

func perSecond(each []time.Duration) float64 { return float64(time.Second) / float64(median(each)) }

// registryFigures are those of one peer, a run each: the time for one of many
// operations at once, and how late the slowest hundredth of deliveries was.
type registryFigures struct {
	registrations, lookups, p99 []time.Duration
	delivered                   int
}

func (f *registryFigures) add(p peer) {
	defer p.stop()
	name := func(i int) (service, id string) {
		return fmt.Sprintf("s%d", i%registryServices), fmt.Sprintf("i%d", i)
	}
	if p, ok := p.(finder); ok { // connections are made before: etcd's client needs but one
		atOnce(registryClients, func(int) {
			_, err := p.lookup("none")
			check(err)
		})
	}
	f.registrations = append(f.registrations, atOnce(registryInstances, func(i int) {
		service, id := name(i)
		check(p.register(service, id, fmt.Sprintf("v%d", i)))
	}))
	if p, ok := p.(finder); ok {
		f.lookups = append(f.lookups, atOnce(registryLookups, func(i int) {
			service, _ := name(i)
			if n, err := p.lookup(service); err != nil || n != registryInstances/registryServices {
				check(fmt.Errorf("%s has %d instances: %w", service, n, err))
			}
		}))
	}
	if p, ok := p.(watcher); ok {
		late := deliveries(p)
		f.delivered += len(late)
		slices.Sort(late)
		f.p99 = append(f.p99, late[len(late)*99/100])
	}
}

// atOnce does n operations by registryClients at once and returns the time that
// each took of the whole.
func atOnce(n int, operation func(i int)) time.Duration {
	var next atomic.Int64
	var clients sync.WaitGroup
	begun := time.Now()
	for range registryClients {
		clients.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				operation(i)
			}
		})
	}
	clients.Wait()
	return time.Since(begun) / time.Duration(n)
}

// deliveries changes the instances of one service in turn, at a steady pace under
// the eyes of all watchers, and returns how late each saw each change.
func deliveries(p watcher) []time.Duration {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	sent, late := map[string]time.Time{}, []time.Duration{}
	for range registryWatchers {
		check(p.watch(ctx, "s0", func(value string) {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			if at, ok := sent[value]; ok {
				late = append(late, now.Sub(at))
			}
		}))
	}
	time.Sleep(time.Second) // the watchers come to rest
	for i := range registryChanges {
		value := fmt.Sprintf("change-%d", i)
		mu.Lock()
		sent[value] = time.Now()
		mu.Unlock()
		check(p.register("s0", fmt.Sprintf("i%d", i*registryServices%registryInstances), value))
		time.Sleep(registryPace) // what is measured is single changes
	}
	time.Sleep(time.Second) // what is late by more is lost
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(late)
}

// started runs a server until it is stopped.
func started(cmd *exec.Cmd, address string) (stop func()) {
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = ownSession
	check(cmd.Start())
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return func() {
				check(cmd.Process.Signal(syscall.SIGTERM))
				_ = cmd.Wait() // how it ends is not measured
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// consul speaks to mesh's registry.
type consul struct {
	base   string
	client *http.Client
	end    func()
}

func (b *bench) meshPeer() peer {
	ws := b.tiny("registry")
	timed(ws, nil, b.mesh, "up", "-d", "-q")
	cmd := exec.Command(b.mesh, "status", "-o", "json")
	cmd.Dir = ws
	out, err := cmd.Output()
	check(err)
	var status struct{ Registry struct{ URL string } }
	check(json.Unmarshal(out, &status))
	return &consul{base: status.Registry.URL, client: keepAlive(registryClients), end: func() { b.down(ws) }}
}

func keepAlive(connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}
}

func (c *consul) stop() {
	c.client.CloseIdleConnections()
	c.end()
}

func (c *consul) register(service, id, value string) error {
	body := fmt.Sprintf(`{"ID":%q,"Name":%q,"Tags":[%q],"Address":"127.0.0.1","Port":8080,"Check":{"TTL":"60s","Status":"passing"}}`, id, service, value)
	return put(c.client, c.base+"/v1/agent/service/register", body)
}

// ask returns the tags of a service's instances, and the index that they had them
// at. They are cut out of the answer, as NATS' and etcd's are: what a JSON decoder
// costs is its user's.
func (c *consul) ask(ctx context.Context, client *http.Client, service, index string) (tags []string, next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/health/service/"+service+"?passing&index="+index, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	for rest := string(body); ; {
		var there bool
		if _, rest, there = strings.Cut(rest, `"Tags":["`); !there {
			return tags, resp.Header.Get("X-Consul-Index"), err
		}
		tag, _, _ := strings.Cut(rest, `"`)
		tags = append(tags, tag)
	}
}

func (c *consul) lookup(service string) (int, error) {
	tags, _, err := c.ask(context.Background(), c.client, service, "")
	return len(tags), err
}

func (c *consul) watch(ctx context.Context, service string, seen func(string)) error {
	client := keepAlive(1)
	before, index, err := c.ask(ctx, client, service, "")
	if err != nil {
		return err
	}
	go func() { // until ctx ends, which the server's end follows
		defer client.CloseIdleConnections()
		for {
			tags, next, err := c.ask(ctx, client, service, index)
			if err != nil {
				return
			}
			for _, tag := range tags {
				if !slices.Contains(before, tag) {
					seen(tag)
				}
			}
			before, index = tags, next
		}
	}()
	return nil
}

func (b *bench) etcdPeer() peer {
	dir, err := os.MkdirTemp(b.dir, "etcd-*")
	check(err)
	address, peers := freeAddress(), "http://"+freeAddress()
	cmd := exec.Command("etcd", "--data-dir", filepath.Join(dir, "data"), "--logger", "zap", "--log-level", "error",
		"--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	return newEtcd(address, started(cmd, address))
}

func (b *bench) natsPeer() peer {
	self, err := os.Executable()
	check(err)
	address := freeAddress()
	return newNATS(address, started(exec.Command(self, "__nats", address), address))
}
