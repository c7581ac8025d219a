// Command testservice is a service that misbehaves on request: it stands in for
// the programs that mesh must cope with. What it does is told by flags.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// padding makes a line as long as lines of logs are.
var padding = strings.Repeat("x", 80)

type options struct {
	exitAfter    time.Duration
	exitCode     int
	ignoreTerm   bool
	fork, setsid bool
	hide         bool
	leak         bool
	readyAfter   time.Duration
	neverReady   bool
	flood        int
	garbage      bool
	silent       bool
	version      string
}

func main() {
	o := parse()
	if o.ignoreTerm {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	}
	o.spawn()
	o.print()
	if o.exitAfter >= 0 {
		time.AfterFunc(o.exitAfter, func() { os.Exit(o.exitCode) })
	}
	if port := os.Getenv("PORT"); port != "" && !o.silent {
		o.serve(net.JoinHostPort(os.Getenv("HOST"), port))
	}
	select {}
}

func parse() *options {
	o := &options{}
	flag.DurationVar(&o.exitAfter, "exit-after", -1, "exit after this long")
	flag.IntVar(&o.exitCode, "exit-code", 1, "and with this code")
	flag.BoolVar(&o.ignoreTerm, "ignore-term", false, "ignore SIGTERM and SIGINT")
	flag.BoolVar(&o.fork, "fork", false, "start a child that sleeps")
	flag.BoolVar(&o.setsid, "setsid", false, "start a child in a session of its own, whose parent exits")
	flag.BoolVar(&o.hide, "hide", false, "start a child in a session and with an environment of its own, whose parent exits")
	flag.BoolVar(&o.leak, "leak", false, "the children keep stdout")
	flag.DurationVar(&o.readyAfter, "ready-after", 0, "/readyz answers 503 until then")
	flag.BoolVar(&o.neverReady, "never-ready", false, "/readyz answers 503 for ever")
	flag.IntVar(&o.flood, "flood", 0, "print so many lines")
	flag.BoolVar(&o.garbage, "garbage", false, "print bytes that are no text")
	flag.BoolVar(&o.silent, "silent", false, "do not listen")
	flag.StringVar(&o.version, "version", "1", "what / answers")
	flag.Parse()
	return o
}

// spawn starts copies of this program that do nothing.
func (o *options) spawn() {
	if o.fork {
		o.start("exec $0 -silent -ignore-term >&2")
	}
	if o.setsid {
		o.start("setsid $0 -silent -ignore-term & exit 0")
	}
	if o.hide {
		o.start("env -i setsid $0 -silent -ignore-term & exit 0")
	}
}

func (o *options) start(line string) {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	cmd := exec.Command("sh", "-c", line, self)
	if o.leak {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	go cmd.Wait()
}

func (o *options) print() {
	fmt.Printf("testservice %s as pid %d\n", o.version, os.Getpid())
	flood := bufio.NewWriterSize(os.Stdout, 64<<10)
	for i := range o.flood {
		fmt.Fprintf(flood, "line %d %s\n", i, padding)
	}
	flood.Flush()
	if o.garbage {
		os.Stdout.WriteString("\x1b]52;c;aGVsbG8=\x07\x1b[2J\xff\xfe no text \r over\n" + strings.Repeat("z", 200_000) + "\n")
	}
}

func (o *options) serve(addr string) {
	var requests atomic.Int64
	started := time.Now()
	http.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if o.neverReady || time.Since(started) < o.readyAfter {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.FormValue("for"))
		time.Sleep(d)
		fmt.Fprintln(w, "slow", o.version)
	})
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv(r.FormValue("name")))
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %d\n", o.version, os.Getenv("MESH_INSTANCE"), requests.Add(1))
	})
	if err := http.ListenAndServe(addr, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
