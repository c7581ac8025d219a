package tui

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/logs"
)

var update = flag.Bool("update", false, "write golden files and pictures anew")

func TestMain(m *testing.M) {
	flag.Parse()
	code := runTests(m)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)

// shop is a state with one of everything.
func shop() runtime.Snapshot {
	at := noon.Add(-95 * time.Second)
	code := 1
	instance := func(service string, n int, state runtime.State) runtime.Instance {
		return runtime.Instance{Service: service, Instance: fmt.Sprintf("%s-%d", service, n), Kind: "service", Driver: "process",
			State: state, PID: 4000 + n, Address: fmt.Sprintf("127.0.0.1:2000%d", n), Version: "21epdD__AtZSxyz", StartedAt: &at}
	}
	failed := instance("legacy", 1, runtime.Failed)
	failed.Restarts, failed.ExitCode, failed.StartedAt, failed.Address = 5, &code, nil, ""
	failed.Reason = "exited with 1, 5 times within 10s; mesh logs legacy"
	return runtime.Snapshot{
		Services: []runtime.Service{
			{Name: "billing", Kind: "service", Replicas: 1, BuildError: "# shop/billing\n./main.go:12:2: undefined: charge\n"},
			{Name: "cart", Kind: "service", Replicas: 2},
			{Name: "legacy", Kind: "service", Replicas: 1},
			{Name: "notifications", Kind: "service", Replicas: 1, Building: true, Progress: "compiles modernc.org/sqlite, 41 of 120"},
			{Name: "profile", Kind: "service", Replicas: 1, Stopped: true},
		},
		Instances: []runtime.Instance{
			instance("billing", 1, runtime.Healthy), instance("cart", 1, runtime.Healthy), instance("cart", 2, runtime.Starting), failed,
		},
	}
}

func healthyShop() runtime.Snapshot {
	s := runtime.Snapshot{}
	for n, name := range []string{"billing", "cart"} {
		s.Services = append(s.Services, runtime.Service{Name: name, Replicas: 1})
		s.Instances = append(s.Instances, runtime.Instance{Service: name, Instance: name + "-1", State: runtime.Healthy, Address: fmt.Sprintf("127.0.0.1:2000%d", n)})
	}
	return s
}

func line(service, text string) logs.Line {
	return logs.Line{Time: noon, Service: service, Instance: service + "-1", Stream: "stdout", Line: text}
}

var shopStatus = control.Status{
	Name: "shop", State: "degraded",
	Gateway: control.Endpoint{URL: "http://127.0.0.1:8080"}, Identity: control.Endpoint{URL: "http://127.0.0.1:21001"},
	Registry: control.Endpoint{URL: "http://127.0.0.1:21002"}, Broker: control.Endpoint{URL: "nats://127.0.0.1:21003"},
}

// after is the model after messages; commands are returned as the messages that
// they bring.
func after(m model, messages ...tea.Msg) (model, []tea.Msg) {
	var out []tea.Msg
	for _, msg := range messages {
		next, cmd := m.Update(msg)
		m = next.(model)
		if cmd != nil {
			out = append(out, cmd())
		}
	}
	return m, out
}

func press(keys ...string) []tea.Msg {
	named := map[string]tea.KeyPressMsg{
		"tab": {Code: tea.KeyTab}, "enter": {Code: tea.KeyEnter}, "esc": {Code: tea.KeyEscape}, "down": {Code: tea.KeyDown},
		"pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl},
	}
	var out []tea.Msg
	for _, k := range keys {
		msg, ok := named[k]
		if !ok {
			r := []rune(k)[0]
			msg = tea.KeyPressMsg{Code: r, Text: k}
		}
		out = append(out, msg)
	}
	return out
}

// opened is the dashboard of the shop at a size.
func opened(width, height int, owner bool) model {
	m, _ := after(newModel(owner), tea.WindowSizeMsg{Width: width, Height: height}, clockMsg{noon}, statusMsg{shopStatus}, snapshotMsg{shop()},
		usageMsg{runtime.Snapshot{Instances: []runtime.Instance{
			{Instance: "billing-1", CPUPercent: 1.25, MemoryBytes: 26 << 20}, {Instance: "cart-1", CPUPercent: 12.5, MemoryBytes: 1200 << 20},
		}}},
		linesMsg{from: source{}, lines: []logs.Line{
			line("cart", `{"time":"2026-03-04T12:00:00Z","level":"INFO","msg":"listening","address":"127.0.0.1:20001","note":"two words"}`),
			line("billing", `{"level":"ERROR","msg":"charge failed","err":{"code":7}}`),
			line("legacy", "panic: \x1b]52;c;aGk=\x07\x1b[2J no card"),
			line("legacy", "\ttabbed, and "+strings.Repeat("long ", 60)),
			{Time: noon, Service: "billing", Instance: "billing", Stream: "build", Line: "./main.go:12:2: undefined: charge", Missed: 17},
		}})
	return m
}

func TestGoldens(t *testing.T) {
	why := explainedMsg{service: "billing", explanation: control.Explanation{
		Service: "billing", State: "healthy", Causes: []string{"billing-1 is healthy", "its newest version does not build:\n./main.go:12:2: undefined: charge"},
		LastLog: []logs.Line{line("billing", `{"level":"ERROR","msg":"charge failed"}`)}, Next: "correct the error; saving builds again",
	}}
	for _, size := range [][2]int{{80, 24}, {160, 50}} {
		w, h := size[0], size[1]
		empty, _ := after(newModel(true), tea.WindowSizeMsg{Width: w, Height: h})
		base := opened(w, h, true)
		help, _ := after(base, press("?")...)
		explained, _ := after(base, append(press("w"), why)...)
		zoomed, _ := after(base, press("tab", "enter")...)
		filtered, _ := after(base, press("/", "c", "h", "a", "r", "g", "e", "enter")...)
		asked, _ := after(base, press("q")...)
		for name, m := range map[string]model{"empty": empty, "shop": base, "help": help, "why": explained, "zoomed": zoomed, "filtered": filtered, "quit": asked} {
			t.Run(fmt.Sprintf("%s-%dx%d", name, w, h), func(t *testing.T) {
				screen := m.View().Content
				for i, l := range strings.Split(screen, "\n") {
					if got := lipgloss.Width(l); got > w || got != w && !m.overlay.open() {
						t.Errorf("line %d is %d wide", i, got)
					}
				}
				if got := strings.Count(screen, "\n") + 1; got != h {
					t.Errorf("%d lines", got)
				}
				golden(t, filepath.Join("testdata", fmt.Sprintf("%s-%dx%d.golden", name, w, h)), ansi.Strip(screen)+"\n")
			})
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; go test ./dashboard/tui -update writes it anew:\n%s", path, got)
	}
}

func TestKeys(t *testing.T) {
	for name, tt := range map[string]struct {
		keys  []string
		owner bool
		want  []tea.Msg
	}{
		"restart":                 {keys: []string{"r"}, want: []tea.Msg{steer{"restart", "billing"}}},
		"rebuild the next":        {keys: []string{"j", "b"}, want: []tea.Msg{steer{"rebuild", "cart"}}},
		"stop":                    {keys: []string{"s"}, want: []tea.Msg{steer{"stop", "billing"}}},
		"start what is stopped":   {keys: []string{"G", "s"}, want: []tea.Msg{steer{"start", "profile"}}},
		"start what failed":       {keys: []string{"j", "j", "S"}, want: []tea.Msg{steer{"start", "legacy"}}},
		"why":                     {keys: []string{"w"}, want: []tea.Msg{explain{"billing"}}},
		"log of one":              {keys: []string{"a"}, want: []tea.Msg{follow{source{"billing", 1}}}},
		"log follows selection":   {keys: []string{"a", "j"}, want: []tea.Msg{follow{source{"billing", 1}}, follow{source{"cart", 2}}}},
		"and back to all":         {keys: []string{"a", "a"}, want: []tea.Msg{follow{source{"billing", 1}}, follow{source{"", 2}}}},
		"zoom opens the selected": {keys: []string{"enter"}, want: []tea.Msg{follow{source{"billing", 1}}}},
		"zoom of the log":         {keys: []string{"tab", "enter"}},
		"keys of an overlay":      {keys: []string{"?", "r"}},
		"keys of the filter":      {keys: []string{"/", "r", "q", "d"}},
		"quit a guest":            {keys: []string{"q"}, want: []tea.Msg{tea.QuitMsg{}}},
		"a guest cannot detach":   {keys: []string{"d"}},
		"quit the owner":          {keys: []string{"q"}, owner: true},
		"the owner stays":         {keys: []string{"q", "n"}, owner: true},
		"the owner stops":         {keys: []string{"q", "y"}, owner: true, want: []tea.Msg{shutdown{}}},
		"the owner detaches":      {keys: []string{"d"}, owner: true, want: []tea.Msg{tea.QuitMsg{}}},
		"or thinks again":         {keys: []string{"q", "d"}, owner: true, want: []tea.Msg{tea.QuitMsg{}}},
		"at once":                 {keys: []string{"/", "ctrl+c"}, owner: true, want: []tea.Msg{tea.QuitMsg{}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := after(opened(80, 24, tt.owner), press(tt.keys...)...)
			if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", tt.want) {
				t.Errorf("orders %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestLeaving(t *testing.T) {
	m, _ := after(opened(80, 24, true), press("d")...)
	if m.left != Detached {
		t.Error("d does not detach")
	}
	var out strings.Builder
	if err := farewell(&out, m); err != nil || out.Len() > 0 {
		t.Errorf("farewell after d: %v %q", err, &out)
	}
	m, _ = after(opened(80, 24, true), append(press("q", "y"), endedMsg{control.ErrEnded, healthyShop()})...)
	if err := farewell(&out, m); err != nil || m.left != Quit {
		t.Errorf("after a stop that was asked for: %v", err)
	}
	m, cmd := after(opened(80, 24, false), endedMsg{control.ErrEnded, healthyShop()})
	if err := farewell(&out, m); !errors.Is(err, control.ErrEnded) || len(cmd) != 1 {
		t.Errorf("after the daemon died: %v %v", err, cmd)
	}
	stopping := healthyShop()
	for i := range stopping.Instances {
		stopping.Instances[i].State = runtime.Stopping
	}
	m, _ = after(opened(80, 24, false), snapshotMsg{stopping})
	if screen := ansi.Strip(m.draw()); !strings.Contains(screen, "◌ stopping") || !strings.Contains(screen, "is being stopped") {
		t.Errorf("a stop from elsewhere is not seen:\n%s", screen)
	}
	m, _ = after(m, endedMsg{control.ErrEnded, stopping})
	if err := farewell(&out, m); err != nil || !strings.Contains(out.String(), "shop was stopped from elsewhere") {
		t.Errorf("after a stop from elsewhere: %v %q", err, &out)
	}
}

func TestNotices(t *testing.T) {
	m, _ := after(newModel(false), clockMsg{noon}, statusMsg{shopStatus}, snapshotMsg{healthyShop()})
	said := func(text string) {
		t.Helper()
		if screen := ansi.Strip(m.draw()); !strings.Contains(screen, text) {
			t.Errorf("%q is not said:\n%s", text, screen)
		}
	}
	said("All healthy at http://127.0.0.1:8080")
	m, _ = after(m, doneMsg{"restart cart", nil})
	said("restart cart: ordered")
	m, _ = after(m, doneMsg{"stop cart", errors.New("no\x1b[2Jway")})
	said(`stop cart: no\x1b[2Jway`)
	m, _ = after(m, clockMsg{noon.Add(shownFor + time.Second)})
	said("All healthy")

	// A start says what it waits for: the log has nothing of a build that goes well.
	starting := healthyShop()
	for i := range starting.Instances {
		starting.Instances[i].State = runtime.Building
		starting.Services[i].Building, starting.Services[i].Progress = true, "12 packages compiled: net/http"
	}
	m, _ = after(m, snapshotMsg{starting})
	said("billing, cart: building: 12 packages compiled: net/http")
	starting = healthyShop()
	starting.Instances[1].State = runtime.Starting
	m, _ = after(m, snapshotMsg{starting})
	said(" cart-1 is starting")
}
