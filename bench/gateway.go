package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The sizes of answers that gateways are compared with.
const (
	smallAnswer = 100
	largeAnswer = 64 << 10
)

// backend answers /s and /l on an address with as little work as possible; it is
// run by this program as a child: bench __backend ADDRESS.
func backend(args []string) error {
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	answer := func(n int) []byte {
		return append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", n), bytes.Repeat([]byte{'x'}, n)...)
	}
	small, large := answer(smallAnswer), answer(largeAnswer)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for {
				line, err := in.ReadSlice('\n')
				is := bytes.HasPrefix(line, []byte("GET /l"))
				for err == nil && len(line) > 2 {
					line, err = in.ReadSlice('\n')
				}
				if err != nil {
					return
				}
				out := small
				if is {
					out = large
				}
				if _, err := conn.Write(out); err != nil {
					return
				}
			}
		}()
	}
}

// reverseProxy is the least that a Go program can do: net/http's own proxy, with
// connections enough, and a look at a token that is known. It is run by this
// program as a child: bench __reverseproxy ADDRESS TARGET TOKEN.
func reverseProxy(args []string) error {
	address, target, token := args[0], args[1], args[2]
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	pool := sync.Pool{New: func() any { return new([32 << 10]byte) }}
	proxy := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true},
		BufferPool: buffers{&pool},
	}
	var known sync.Map // of tokens, to their expiry
	known.Store("Bearer "+token, time.Now().Add(time.Hour))
	return http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		expiry, ok := known.Load(r.Header.Get("Authorization"))
		if !ok || time.Now().After(expiry.(time.Time)) {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
}

type buffers struct{ *sync.Pool }

func (b buffers) Get() []byte  { return b.Pool.Get().(*[32 << 10]byte)[:] }
func (b buffers) Put(p []byte) { b.Pool.Put((*[32 << 10]byte)(p)) }

// proxied is something that is measured.
type proxied struct {
	name, url string
	pid       int
	spent     map[string][]time.Duration // on 100,000 requests, by path
}

// gateway compares what requests through the gateway cost with net/http's proxy and
// with those proxies that are installed.
func (b *bench) gateway() {
	back := freeAddress()
	self, err := os.Executable()
	check(err)
	defer ended(b.child(b.dir, self, "__backend", back))
	dir := filepath.Join(b.dir, "gateway")
	check(os.MkdirAll(dir, 0o700))
	text := fmt.Sprintf("version: 1\nname: gateway\ngateway: {address: 127.0.0.1:0}\nidentity: {users: [{name: alice, roles: [customer]}]}\nservices:\n  back: {dir: ., url: \"http://%s\", routes: [{prefix: /, roles: [customer]}]}\n", back)
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(text), 0o600))
	defer b.down(dir)
	timed(dir, nil, b.mesh, "up", "-d", "-q")
	out, err := command(context.Background(), dir, b.mesh, "token", "--user", "alice").Output()
	check(err)
	token := strings.TrimSpace(string(out))
	at := freeAddress()
	tuned := b.child(b.dir, self, "__reverseproxy", at, "http://"+back, token)
	defer ended(tuned)
	s := b.status(dir)
	all := append([]*proxied{{name: "mesh", url: s.Gateway.URL, pid: s.PID}, {name: "ReverseProxy", url: "http://" + at, pid: tuned.Process.Pid}}, b.peers(back)...)
	for _, p := range all {
		p.spent = map[string][]time.Duration{}
		b.answers(p.url+"/s", token)
		if p.name != "mesh" && p.name != "ReverseProxy" {
			defer sigterm(p.pid)
		}
	}
	for range b.runs {
		for _, path := range []string{"/s", "/l"} {
			for _, p := range all {
				p.spent[path] = append(p.spent[path], p.measure(path, token))
			}
		}
	}
	b.compare(all)
}

// peers starts the proxies that are on PATH.
func (b *bench) peers(back string) (all []*proxied) {
	for name, config := range map[string]string{
		"caddy":   "{\n admin off\n auto_https off\n}\nhttp://ADDRESS {\n reverse_proxy BACK {\n  transport http {\n   keepalive_idle_conns_per_host 512\n  }\n }\n}\n",
		"nginx":   "worker_processes auto; daemon off; pid nginx.pid; error_log nginx.err;\nevents { worker_connections 4096; }\nhttp { access_log off; keepalive_requests 10000000; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5; proxy_buffers 16 16k;\n upstream b { server BACK; keepalive 256; keepalive_requests 10000000; }\n server { listen ADDRESS; location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; } } }\n",
		"haproxy": "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n http-reuse always\nfrontend f\n bind ADDRESS\n default_backend b\nbackend b\n server s1 BACK\n",
	} {
		program, err := exec.LookPath(name)
		if err != nil {
			fmt.Println("  not installed:", name)
			continue
		}
		dir, at := filepath.Join(b.dir, name), freeAddress()
		check(os.MkdirAll(dir, 0o700))
		file := filepath.Join(dir, "config")
		check(os.WriteFile(file, []byte(strings.NewReplacer("ADDRESS", at, "BACK", back).Replace(config)), 0o600))
		argv := map[string][]string{"caddy": {"run", "--config", file, "--adapter", "caddyfile"}, "nginx": {"-p", dir, "-c", file}, "haproxy": {"-db", "-f", file}}[name]
		cmd := b.child(dir, program, argv...)
		all = append(all, &proxied{name: name, url: "http://" + at, pid: cmd.Process.Pid})
		go func() { _ = cmd.Wait() }() // it is told to end when all is measured
	}
	return all
}

// ownSession is for what is compared with mesh, whose daemon has one: Linux shares the
// processor out by sessions (autogroup in sched(7)), and a program that is in one with
// the load is interrupted half as often.
var ownSession = &syscall.SysProcAttr{Setsid: true}

// child starts a program that runs while something is measured.
func (b *bench) child(dir, program string, args ...string) *exec.Cmd {
	cmd := command(context.Background(), dir, program, args...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = ownSession
	check(cmd.Start())
	return cmd
}

func ended(cmd *exec.Cmd) {
	sigterm(cmd.Process.Pid)
	_ = cmd.Wait()
}

func sigterm(pid int) { _ = syscall.Kill(pid, syscall.SIGTERM) }

// answers waits until a proxy answers.
func (b *bench) answers(url, token string) {
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
		check(err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = errors.New(resp.Status)
		}
		if time.Since(begun) > 30*time.Second {
			check(fmt.Errorf("%s: %w", url, err))
		}
	}
}

// measure asks over 64 connections for three seconds, and returns the processor
// time that 100,000 requests took the proxy.
func (p *proxied) measure(path, token string) time.Duration {
	before := family(p.pid)
	n := load(p.url, path, token, 64, 3*time.Second)
	return (family(p.pid) - before) * 100_000 / time.Duration(n)
}

// load sends requests over connections, one after the other on each, and returns
// how many were answered.
func load(base, path, token string, conns int, d time.Duration) int64 {
	u, err := url.Parse(base)
	check(err)
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", path, u.Host, token)
	end := time.Now().Add(d)
	var answered atomic.Int64
	var all sync.WaitGroup
	for range conns {
		all.Go(func() {
			conn, err := net.Dial("tcp", u.Host)
			check(err)
			defer conn.Close()
			in := bufio.NewReaderSize(conn, 32<<10)
			for time.Now().Before(end) {
				_, err := conn.Write(request)
				check(err)
				check(skipAnswer(in))
				answered.Add(1)
			}
		})
	}
	all.Wait()
	return answered.Load()
}

// skipAnswer reads an answer that must be good.
func skipAnswer(in *bufio.Reader) error {
	line, err := in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "HTTP/1.1 200 ") {
		err = errors.New("answered " + line)
	}
	length := 0
	for err == nil && len(line) > 2 {
		if line, err = in.ReadString('\n'); len(line) > 15 && strings.EqualFold(line[:15], "Content-Length:") {
			length, err = strconv.Atoi(strings.TrimSpace(line[15:]))
		}
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, in, int64(length))
	}
	return err
}

// family is the processor time of a process and its children.
func family(pid int) time.Duration {
	spent := cpu(pid)
	entries, err := os.ReadDir("/proc")
	check(err)
	for _, e := range entries {
		if child, err := strconv.Atoi(e.Name()); err == nil && parentOf(child) == pid {
			spent += cpu(child)
		}
	}
	return spent
}

// connections measures the memory of 10,000 connections that have had an answer and
// wait, once the runtime has given back what it does not use.
func (b *bench) connections() {
	const n = 10_000
	raiseFiles()
	dir := filepath.Join(b.dir, "connections")
	check(os.MkdirAll(dir, 0o700))
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(workspace+"services:\n  one: {dir: ., kind: worker, run: [sleep, \"1000\"], watch: [manual]}\n"), 0o600))
	defer b.down(dir)
	timed(dir, nil, b.mesh, "up", "-d", "-q")
	s := b.status(dir)
	u, err := url.Parse(s.Gateway.URL)
	check(err)
	before := rss(s.PID)
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i], err = net.Dial("tcp", u.Host)
		check(err)
		defer conns[i].Close()
		_, err = fmt.Fprintf(conns[i], "GET /.mesh/health HTTP/1.1\r\nHost: %s\r\n\r\n", u.Host)
		check(err)
		check(skipAnswer(bufio.NewReader(conns[i])))
	}
	// The runtime gives back what it does not use within some two minutes.
	each := float64(0)
	for begun := time.Now(); time.Since(begun) < 3*time.Minute; time.Sleep(time.Second) {
		if each = (rss(s.PID) - before) * 1e6 / n; each <= 16<<10 {
			break
		}
	}
	b.report(fmt.Sprintf("%d idle connections, memory of each", n), fmt.Sprintf("%.1f KiB", each/1024), "≤ 16 KiB", each <= 16<<10)
}

// raiseFiles lets this program and its children open as many files as they may.
func raiseFiles() {
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

// compare reports what each spent beside mesh.
func (b *bench) compare(all []*proxied) {
	bounds := map[string]map[string]int{"/s": {"ReverseProxy": 80, "caddy": 60}, "/l": {"caddy": 60}} // percent
	for _, path := range []string{"/s", "/l"} {
		ours := median(all[0].spent[path])
		size := map[string]string{"/s": "100 B", "/l": "64 KiB"}[path]
		for _, p := range all[1:] {
			theirs := median(p.spent[path])
			got := fmt.Sprintf("%.2f s, %.2f × %s", ours.Seconds(), float64(ours)/float64(theirs), p.name)
			if bound := bounds[path][p.name]; bound > 0 {
				b.report("gateway, "+size+", processor for 100,000", got, fmt.Sprintf("≤ 0.%d ×", bound), ours*100 <= theirs*time.Duration(bound))
				continue
			}
			fmt.Printf("%-44s %s\n", "gateway, "+size+", processor for 100,000", got)
		}
	}
}
