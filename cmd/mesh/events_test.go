package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// newSystem is a workspace made by mesh init with services made by mesh new,
// each given as its arguments. It does not run yet.
func newSystem(t *testing.T, services ...string) *demo {
	t.Helper()
	d := &demo{t: t, dir: filepath.Join(t.TempDir(), "work")}
	t.Cleanup(func() { _, _ = d.mesh("down") })
	if out, err := d.run("mesh", "init", d.dir); err != nil {
		t.Fatalf("mesh init: %v\n%s", err, out)
	}
	for _, s := range services {
		if out, err := d.run("mesh", append([]string{"-C", d.dir, "new", "service"}, strings.Fields(s)...)...); err != nil {
			t.Fatalf("mesh new service %s: %v\n%s", s, err, out)
		}
	}
	return d
}

// up starts the workspace and waits until all of it is healthy.
func (d *demo) up() {
	d.t.Helper()
	if out, err := d.run("mesh", "-C", d.dir, "up", "-d", "--gateway", "127.0.0.1:0"); err != nil {
		logs, _ := d.mesh("logs", "-n", "50")
		d.t.Fatalf("mesh up: %v\n%s\n%s", err, out, logs)
	}
	var s struct{ Gateway struct{ URL string } }
	d.json(&s, "status")
	d.gateway = s.Gateway.URL
}

// do runs mesh, which has to succeed.
func (d *demo) do(args ...string) {
	d.t.Helper()
	if out, err := d.run("mesh", append([]string{"-C", d.dir}, args...)...); err != nil {
		d.t.Fatalf("mesh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// json decodes what a command of mesh prints with -o json.
func (d *demo) json(into any, args ...string) {
	d.t.Helper()
	out, err := d.mesh(append(args, "-o", "json")...)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	if err != nil {
		d.t.Fatalf("mesh %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// env is a service's environment.
func (d *demo) env(service string) (values map[string]string) {
	d.t.Helper()
	out, err := d.mesh("env", service, "--reveal", "--format", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &values)
	}
	if err != nil {
		d.t.Fatalf("mesh env %s: %v", service, err)
	}
	return values
}

// edit does to a generated file what its team would do.
func (d *demo) edit(file string, pairs ...string) {
	d.t.Helper()
	path := filepath.Join(d.dir, file)
	data, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(string(data), pairs[i]) {
			d.t.Fatalf("%s: there is no %q in it", file, pairs[i])
		}
		data = []byte(strings.ReplaceAll(string(data), pairs[i], pairs[i+1]))
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

// pid is the process of a service's only instance.
func (d *demo) pid(service string) int {
	d.t.Helper()
	var all []struct {
		Service string
		PID     int
	}
	d.json(&all, "ps")
	for _, i := range all {
		if i.Service == service && i.PID > 0 {
			return i.PID
		}
	}
	d.t.Fatalf("%s does not run: %+v", service, all)
	return 0
}

// eventually asks until ok says yes.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// rowsSource is a program that prints the rows of a query, for a test to see
// into a service's database with that service's own environment.
const rowsSource = `package main

import (
	"database/sql"
	"fmt"
	"os"
	"strings"

	_ "modernc.org/sqlite"
)

func main() {
	db, err := sql.Open("sqlite", strings.Replace(os.Getenv("DATABASE_URL"), "sqlite:", "file:", 1)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		panic(err)
	}
	rows, err := db.Query(os.Args[1])
	if err != nil {
		panic(err)
	}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			panic(err)
		}
		fmt.Println(text)
	}
	if err := rows.Err(); err != nil {
		panic(err)
	}
}
`

// eventSystem is two services: orders tells of what was made, the ledger writes it down.
type eventSystem struct {
	*demo
	rows string // the program
}

const createOrder = "orders.v1.OrdersService/CreateItem"

func newEventSystem(t *testing.T) *eventSystem {
	t.Helper()
	if testing.Short() {
		t.Skip("builds two services")
	}
	s := &eventSystem{demo: newSystem(t, "orders --publishes made", "ledger --template worker --consumes orders.made")}
	s.edit("services/ledger/internal/consume/consume.go",
		`	"database/sql"`, `	"database/sql"
	"errors"`,
		`	item, err := ledger.New("orders", "orders.made", time.Now())`, `	switch event.GetName() {
	case "poison":
		return errors.New("nobody can write this down")
	case "explosive":
		panic("no such luck")
	}
	item, err := ledger.New(event.GetOwner(), event.GetName(), time.Now())`)
	// A publisher that is slower than its callers has something in its outbox.
	s.edit("services/orders/internal/events/events.go", `		ctx, cancel := context.WithTimeout(`, `		time.Sleep(20 * time.Millisecond)
		ctx, cancel := context.WithTimeout(`)
	source := filepath.Join(s.dir, "services/ledger/cmd/rows/main.go")
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, []byte(rowsSource), 0o644); err != nil {
		t.Fatal(err)
	}
	s.up()
	s.rows = filepath.Join(t.TempDir(), "rows")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", s.rows, "./services/ledger/cmd/rows")
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// query prints one column of a service's database.
func (s *eventSystem) query(service, sql string) []string {
	s.t.Helper()
	out, err := s.mesh("exec", service, "--", s.rows, sql)
	if err != nil {
		s.t.Fatalf("%s: %s: %v %s", service, sql, err, out)
	}
	return strings.Fields(out)
}

// effects is how often each event was written down.
func (s *eventSystem) effects() map[string]int {
	s.t.Helper()
	seen := map[string]int{}
	for _, name := range s.query("ledger", "SELECT name FROM items") {
		seen[name]++
	}
	return seen
}

// arrived waits for the effect of an event.
func (s *eventSystem) arrived(name string, within time.Duration) {
	s.t.Helper()
	eventually(s.t, within, name+" is in the ledger", func() bool { return s.effects()[name] > 0 })
}

// once holds that each of these events had its effect once.
func (s *eventSystem) once(names ...string) {
	s.t.Helper()
	seen := s.effects()
	for _, name := range names {
		if seen[name] != 1 {
			s.t.Errorf("%s had %d effects, want one", name, seen[name])
		}
	}
}

// order makes an item and so an event, through the gateway.
func (s *eventSystem) order(c caller, name string) (code string) {
	s.t.Helper()
	_, code = c.call(createOrder, map[string]any{"name": name})
	return code
}

// publish sends an event with that id in the name of orders, and reports
// whether the broker knew it.
func (s *eventSystem) publish(id, data string) bool {
	s.t.Helper()
	nc, err := nats.Connect(s.env("orders")["NATS_URL"])
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	ack, err := js.Publish(s.t.Context(), "orders.made", []byte(data), jetstream.WithMsgID(id))
	if err != nil {
		s.t.Fatal(err)
	}
	return ack.Duplicate
}

type deadLetter struct {
	Subject, Consumer, Reason string
	Deliveries                int
}

func (s *eventSystem) dead() (letters []deadLetter) {
	s.t.Helper()
	s.json(&letters, "events", "dead")
	return letters
}

// TestEvents is what generated services promise about events, held by two of
// them, built and run by the real binary.
func TestEvents(t *testing.T) {
	s := newEventSystem(t)
	for _, tc := range []struct {
		name string
		test func(*eventSystem)
	}{
		{"one effect", (*eventSystem).oneEffect},
		{"a poison event is put aside", (*eventSystem).poison},
		{"killed publisher", (*eventSystem).killedPublisher},
		{"restarted consumer", (*eventSystem).restartedConsumer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.t = t
			tc.test(s)
		})
	}
}

// oneEffect delivers the same events again in every way there is.
func (s *eventSystem) oneEffect() {
	alice := overHTTP{s.demo, s.token("alice")}
	names := []string{"direct"}
	for i := range 5 {
		names = append(names, "first-"+strconv.Itoa(i))
		if code := s.order(alice, names[len(names)-1]); code != "" {
			s.t.Fatal(code)
		}
	}
	const direct = `{"owner": "alice", "name": "direct"}`
	if s.publish("id-1", direct) || !s.publish("id-1", direct) {
		s.t.Error("the broker did not know an event that it got twice within two minutes")
	}
	s.publish("id-2", `{"owner": "alice", "name": "marker-1"}`)
	for _, name := range append(names, "marker-1") {
		s.arrived(name, 20*time.Second)
	}
	s.once(names...)

	// The consumer's position is lost: all that the stream holds comes again.
	s.do("down")
	broker := filepath.Join(s.dir, ".mesh/data/broker")
	if err := os.RemoveAll(filepath.Join(broker, "jetstream/$G/streams/orders/obs")); err != nil {
		s.t.Fatal(err)
	}
	s.up()
	s.publish("id-3", `{"owner": "alice", "name": "marker-2"}`)
	s.arrived("marker-2", 20*time.Second)
	s.once(names...)

	// The broker has forgotten which ids it has seen, as it does after a while.
	s.do("down")
	if err := os.RemoveAll(broker); err != nil {
		s.t.Fatal(err)
	}
	s.up()
	if s.publish("id-1", direct) {
		s.t.Error("the broker has forgotten nothing: this test shows nothing")
	}
	s.publish("id-4", `{"owner": "alice", "name": "marker-3"}`)
	s.arrived("marker-3", 20*time.Second)
	s.once(names...)
}

// poison has events that fail each time, in three ways, while others flow.
func (s *eventSystem) poison() {
	s.publish("poison-1", `{"owner": "alice", "name": "poison"}`)
	s.publish("poison-2", `{"owner": "alice", "name": "explosive"}`)
	s.publish("poison-3", `no JSON`)
	alice := overHTTP{s.demo, s.token("alice")}
	var behind []string
	for i := range 10 {
		behind = append(behind, "behind-"+strconv.Itoa(i))
		if code := s.order(alice, behind[i]); code != "" {
			s.t.Fatal(code)
		}
	}
	s.arrived(behind[len(behind)-1], 10*time.Second)
	if early := s.dead(); len(early) > 0 {
		s.t.Errorf("given up before the events behind flowed: %+v", early)
	}
	s.once(behind...)

	eventually(s.t, time.Minute, "three dead letters", func() bool { return len(s.dead()) == 3 })
	reasons := map[string]bool{"nobody can write this down": false, "panic: no such luck": false, "syntax error": false}
	for _, l := range s.dead() {
		if l.Subject != "orders.made" || l.Consumer != "ledger" || l.Deliveries != 5 {
			s.t.Errorf("dead letter %+v", l)
		}
		for reason := range reasons {
			reasons[reason] = reasons[reason] || strings.Contains(l.Reason, reason)
		}
	}
	for reason, found := range reasons {
		if !found {
			s.t.Errorf("no dead letter says %q: %+v", reason, s.dead())
		}
	}
	if n := len(s.query("ledger", "SELECT id FROM items WHERE name IN ('poison', 'explosive')")); n > 0 {
		s.t.Errorf("poison had %d effects", n)
	}
	if out, err := s.mesh("events", "dead"); err != nil || !strings.Contains(out, "nobody can write this down") {
		s.t.Errorf("%v\n%s", err, out)
	}
	if s.pid("ledger") == 0 {
		s.t.Error("a panic took the service with it")
	}
}

// orders makes n items, several at once, until all were tried; accepted are
// those that the caller was told of.
func (s *eventSystem) orders(prefix string, n int) (accepted, others []string) {
	alice := overHTTP{s.demo, s.token("alice")}
	var mu sync.Mutex
	var g sync.WaitGroup
	names := make(chan string)
	for range 4 {
		g.Go(func() {
			for name := range names {
				code := s.order(alice, name)
				mu.Lock()
				if code == "" {
					accepted = append(accepted, name)
				} else {
					others = append(others, name)
				}
				mu.Unlock()
			}
		})
	}
	for i := range n {
		names <- prefix + strconv.Itoa(i)
	}
	close(names)
	g.Wait()
	return accepted, others
}

// exactly waits until each of accepted had its effect, and then holds that it
// was one, and at most one for the others.
func (s *eventSystem) exactly(accepted, others []string) {
	s.t.Helper()
	if len(accepted) == 0 {
		s.t.Fatal("nothing was accepted")
	}
	eventually(s.t, 90*time.Second, fmt.Sprintf("the effects of %d events", len(accepted)), func() bool {
		seen := s.effects()
		for _, name := range accepted {
			if seen[name] == 0 {
				return false
			}
		}
		return true
	})
	s.once(accepted...)
	seen := s.effects()
	for _, name := range others {
		if seen[name] > 1 {
			s.t.Errorf("%s had %d effects", name, seen[name])
		}
	}
}

func (s *eventSystem) kill(service string) {
	s.t.Helper()
	p, err := os.FindProcess(s.pid(service))
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// killedPublisher is killed with events in its outbox, twice.
func (s *eventSystem) killedPublisher() {
	var accepted, others []string
	for round := range 2 {
		more, failed := s.orders(fmt.Sprintf("kill-%d-", round), 100)
		accepted, others = append(accepted, more...), append(others, failed...)
		s.kill("orders")
		if waiting := s.query("orders", "SELECT count(*) FROM outbox"); waiting[0] == "0" {
			s.t.Error("the outbox was empty when the publisher died: this shows nothing")
		}
		s.do("wait", "orders", "--timeout", "60s")
	}
	s.exactly(accepted, others)
	eventually(s.t, 10*time.Second, "the outbox is empty", func() bool { return s.query("orders", "SELECT count(*) FROM outbox")[0] == "0" })
}

// restartedConsumer is restarted, and once killed, under a stream of events.
func (s *eventSystem) restartedConsumer() {
	var accepted, others []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for round := range 8 {
			more, failed := s.orders(fmt.Sprintf("stream-%d-", round), 50)
			accepted, others = append(accepted, more...), append(others, failed...)
			time.Sleep(500 * time.Millisecond)
		}
	}()
	restarts := 0
	for running := true; running; {
		if restarts == 1 {
			s.kill("ledger")
		}
		s.do("restart", "ledger")
		s.do("wait", "ledger", "--timeout", "60s")
		restarts++
		select {
		case <-done:
			running = false
		case <-time.After(300 * time.Millisecond):
		}
	}
	s.t.Logf("%d restarts", restarts)
	if len(others) > 0 {
		s.t.Errorf("%d orders failed while the ledger restarted", len(others))
	}
	s.exactly(accepted, others)
	if letters := s.dead(); len(letters) > 3 {
		s.t.Errorf("restarts made dead letters: %+v", letters)
	}
}
