package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/tools/txtar"
)

//go:embed testdata/reloaded.txtar
var reloaded []byte

// soak is a workspace whose services are reloaded while they are asked.
type soak struct {
	*bench
	dir     string
	gateway string
	source  string

	asked, failed atomic.Int64
	streams       atomic.Int64 // how often a stream was opened
	first         sync.Once    // the first failure is printed
}

// reload reloads a service under 500 requests a second, through the gateway and
// through a link, GET and POST, on kept and on new connections, with an event
// stream and a WebSocket open; then one that ends without any care.
func (b *bench) reload() {
	s := b.newSoak()
	defer b.down(s.dir)
	timed(s.dir, nil, b.mesh, "up", "-d", "-q")
	s.gateway = b.status(s.dir).Gateway.URL
	for _, service := range []string{"careful", "careless"} {
		s.asked.Store(0)
		s.failed.Store(0)
		s.streams.Store(0)
		reloads := 20 * b.runs
		var took []time.Duration
		s.under(service, func() {
			for i := range reloads {
				begun := time.Now()
				s.save(service, fmt.Sprintf("%s-%d", service, i))
				took = append(took, time.Since(begun))
			}
		})
		b.report(fmt.Sprintf("%d reloads of %s: failed of %d", reloads, service, s.asked.Load()), fmt.Sprintf("%d, %s a reload", s.failed.Load(), ms(median(took))),
			"0", s.failed.Load() == 0 && s.streams.Load() > 4)
	}
}

func (b *bench) newSoak() *soak {
	s := &soak{bench: b, dir: filepath.Join(b.dir, "reloaded")}
	for _, f := range txtar.Parse(reloaded).Files {
		path := filepath.Join(s.dir, filepath.FromSlash(f.Name))
		check(os.MkdirAll(filepath.Dir(path), 0o700))
		check(os.WriteFile(path, f.Data, 0o600))
		if f.Name == "main.go" {
			s.source = string(f.Data)
		}
	}
	check(os.Remove(filepath.Join(s.dir, "main.go")))
	for _, service := range []string{"careful", "careless"} {
		s.write(service, "first")
	}
	return s
}

func (s *soak) write(service, version string) {
	path := filepath.Join(s.dir, service, "main.go")
	check(os.WriteFile(path, []byte(strings.Replace(s.source, "VERSION", version, 1)), 0o600))
}

// save writes a new version and waits until it answers.
func (s *soak) save(service, version string) {
	s.write(service, version)
	s.answers(service, version, 5*time.Millisecond)
}

// answers asks at intervals until a version answers.
func (s *soak) answers(service, version string, every time.Duration) {
	for deadline := time.Now().Add(time.Minute); ; {
		if text, err := get(http.DefaultClient, s.gateway+"/"+service+"/"); err == nil && strings.HasPrefix(text, version+" ") {
			return
		}
		if time.Now().After(deadline) {
			check(fmt.Errorf("%s never answered", version))
		}
		time.Sleep(every)
	}
}

func get(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	return bodyOf(resp)
}

func bodyOf(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// under does something while the service is asked.
func (s *soak) under(service string, do func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	link := s.linkTo(service)
	for _, base := range []string{s.gateway + "/" + service, link} {
		for _, client := range []*http.Client{kept, fresh} {
			load.Go(func() { s.ask(ctx, client, base+"/") })
			load.Go(func() { s.post(ctx, client, base+"/") })
		}
		load.Go(func() { s.stream(ctx, func() error { return events(ctx, base+"/events") }) })
		load.Go(func() { s.stream(ctx, func() error { return socket(ctx, base+"/socket") }) })
	}
	do()
	cancel()
	load.Wait()
	kept.CloseIdleConnections()
}

// linkTo is the address that the service caller has for another.
func (s *soak) linkTo(service string) string {
	cmd := exec.Command(s.mesh, "env", "caller", "--format", "json")
	cmd.Dir = s.dir
	out, err := cmd.Output()
	check(err)
	env := map[string]string{}
	check(json.Unmarshal(out, &env))
	return env[strings.ToUpper(service)+"_URL"]
}

// each calls f some 62 times a second, eight of which make 500, whether earlier
// calls have returned or not.
func (s *soak) each(ctx context.Context, f func() error) {
	tick := time.NewTicker(16 * time.Millisecond)
	defer tick.Stop()
	var calls sync.WaitGroup
	defer calls.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			calls.Go(func() { s.note(f()) })
		}
	}
}

func (s *soak) note(err error) {
	s.asked.Add(1)
	if err != nil {
		s.failed.Add(1)
		s.first.Do(func() { fmt.Println("  the first failure:", err) })
	}
}

func (s *soak) ask(ctx context.Context, client *http.Client, url string) {
	s.each(ctx, func() error { _, err := get(client, url); return err })
}

func (s *soak) post(ctx context.Context, client *http.Client, url string) {
	sent := strings.Repeat("x", 1000)
	s.each(ctx, func() error {
		resp, err := client.Post(url, "text/plain", strings.NewReader(sent))
		if err != nil {
			return err
		}
		text, err := bodyOf(resp)
		if err == nil && !strings.HasSuffix(text, " "+sent) {
			err = errors.New("the answer to a POST is cut")
		}
		return err
	})
}

// stream keeps a stream open: it ends with the version that serves it, and must
// open again at once.
func (s *soak) stream(ctx context.Context, open func() error) {
	for ctx.Err() == nil {
		s.streams.Add(1)
		if err := open(); ctx.Err() == nil {
			s.note(err)
		}
	}
}

// events reads server-sent events until they end; the error is for a stream that
// could not be opened.
func events(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	check(err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("events: " + resp.Status)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // however it ends
	return nil
}

// socket reads a WebSocket until it ends.
func socket(ctx context.Context, address string) error {
	u, err := url.Parse(address)
	check(err)
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", u.Path, u.Host)
	r := bufio.NewReader(conn)
	status, err := r.ReadString('\n')
	if err != nil || !strings.Contains(status, " 101 ") {
		return fmt.Errorf("socket: %q %w", strings.TrimSpace(status), errors.Join(err))
	}
	_, _ = io.Copy(io.Discard, r)
	return nil
}

// save compares the time from a save to the new version's answer with go build
// and a start by hand.
func (b *bench) save() {
	s := b.newSoak()
	defer b.down(s.dir)
	timed(s.dir, nil, b.mesh, "up", "-d", "-q", "careful")
	s.gateway = b.status(s.dir).Gateway.URL
	var building, byHand, byMesh []time.Duration
	for i := range 4 * b.runs {
		built, answered := s.byHand(fmt.Sprintf("hand-%d", i))
		building, byHand = append(building, built), append(byHand, answered)
		byMesh = append(byMesh, s.byMesh(fmt.Sprintf("mesh-%d", i)))
	}
	hand, mesh, built := median(byHand), median(byMesh), median(building)
	b.report("save to the new version's answer", ms(mesh), fmt.Sprintf("≤ 1.05 × %s by hand", ms(hand)), mesh <= hand*105/100)
	b.report("the same, over go build", ms(mesh-built), fmt.Sprintf("≤ 60 ms over %s", ms(built)), mesh-built <= 60*time.Millisecond)
}

// byMesh saves a version of a service that mesh runs. It is asked once its new
// program is there, as by hand: questions before would take their time from the
// compiler.
func (s *soak) byMesh(version string) time.Duration {
	programs := filepath.Join(s.dir, ".mesh", "bin", "careful")
	before := modified(programs)
	begun := time.Now()
	s.write("careful", version)
	for modified(programs).Equal(before) && time.Since(begun) < time.Minute {
		time.Sleep(2 * time.Millisecond)
	}
	s.answers("careful", version, time.Millisecond)
	return time.Since(begun)
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	check(err)
	return info.ModTime()
}

// byHand builds a version of a service of the same code, which mesh does not run,
// and starts it.
func (s *soak) byHand(version string) (built, answered time.Duration) {
	s.write("careless", version)
	program := filepath.Join(s.bench.dir, "by-hand")
	begun := time.Now()
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./careless")
	cmd.Dir = s.dir
	check(cmd.Run())
	built = time.Since(begun)
	address := freeAddress()
	host, port, err := net.SplitHostPort(address)
	check(err)
	run := exec.Command(program)
	run.Env = append(os.Environ(), "HOST="+host, "PORT="+port)
	check(run.Start())
	for {
		if text, err := get(http.DefaultClient, "http://"+address+"/"); err == nil && strings.HasPrefix(text, version+" ") {
			answered = time.Since(begun)
			check(run.Process.Kill())
			_ = run.Wait() // it was killed
			return built, answered
		}
		time.Sleep(time.Millisecond)
	}
}
