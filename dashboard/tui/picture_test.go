package tui

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
)

// record runs the demo for real and keeps its screen for the picture in the
// README: go test ./dashboard/tui -run TestPicture -record -update
var record = flag.Bool("record", false, "run the demo and keep its screen in testdata/demo.ansi")

// TestPicture draws the screen that was recorded.
func TestPicture(t *testing.T) {
	if *record {
		recordDemo(t)
	}
	screen, err := os.ReadFile("testdata/demo.ansi")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("..", "..", "docs", "images", "dashboard.svg"), picture(string(screen)))
}

func recordDemo(t *testing.T) {
	t.Setenv("COLORTERM", "truecolor")
	t.Setenv("PS1", "$ ")
	s := newScreen(t, 120, 24, "true")
	s.keys("mesh down; mesh demo shop", "Enter")
	shop := filepath.Join(s.dir, "shop")
	t.Cleanup(func() {
		down := exec.Command(filepath.Join(bin, "mesh"), "-C", shop, "down")
		down.Env = s.env
		_ = down.Run()
	})
	s.shows("› billing", "All healthy at")
	gateway := demoStatus(t, shop)
	for _, user := range []string{"alice", "bob"} {
		call := func(method, body string) { request(t, shop, user, gateway+method, body) }
		call("/profile.v1.ProfileService/CreateUser", fmt.Sprintf(`{"name":%q,"email":"%s@example.test"}`, user, user))
		call("/cart.v1.CartService/AddItem", `{"sku":"tea","quantity":2,"unitPriceCents":350}`)
		card := map[string]string{"alice": "4111111111111111", "bob": "4111111111111110"}[user]
		call("/cart.v1.CartService/Checkout", fmt.Sprintf(`{"cardNumber":%q}`, card))
	}
	s.keys("j", "r")
	s.shows("restart cart: ordered")
	s.shows("cart-2", "listening")
	breakService(t, filepath.Join(shop, "services", "billing", "cmd", "billing", "main.go"))
	s.shows("does not build")
	s.lacks("restart cart: ordered")
	screen := s.tmux("capture-pane", "-p", "-e")
	if err := os.WriteFile("testdata/demo.ansi", []byte(screen), 0o644); err != nil {
		t.Fatal(err)
	}
	s.keys("C-c")
	s.lacks("Log of all services")
}

// breakService is a person who saves a mistake: the version that runs goes on.
func breakService(t *testing.T, path string) {
	source, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(source, "\nvar _ = chargeTwice\n"...), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func demoStatus(t *testing.T, dir string) string {
	out, err := exec.Command(filepath.Join(bin, "mesh"), "-C", dir, "status", "-o", "json").Output()
	var status struct{ Gateway struct{ URL string } }
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		t.Fatal(err)
	}
	return status.Gateway.URL
}

func request(t *testing.T, dir, user, url, body string) {
	token, err := exec.Command(filepath.Join(bin, "mesh"), "-C", dir, "token", "--user", user).Output()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Logf("%s: %s", url, resp.Status)
	}
}

// pen is how a cell is drawn.
type pen struct {
	ink, paper    string
	bold, reverse bool
}

const (
	cellWidth, cellHeight, margin, bar = 8.4, 17.0, 14.0, 30.0
	ink, paper                         = "#d5dae3", "#171b22"
)

var sgr = regexp.MustCompile("\x1b\\[([0-9;:]*)m")

// picture turns a captured screen into an SVG that looks like a terminal.
func picture(screen string) string {
	lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
	columns := 0
	for _, l := range lines {
		columns = max(columns, ansi.StringWidth(l))
	}
	width, height := 2*margin+float64(columns)*cellWidth, 2*margin+bar+float64(len(lines))*cellHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img" aria-label="The terminal dashboard of mesh, with the demo running">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%.0f" height="%.0f" rx="10" fill="%s"/>`+"\n", width, height, paper)
	for i, colour := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="18" r="6" fill="%s"/>`+"\n", 22+20*i, colour)
	}
	b.WriteString(`<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="14" xml:space="preserve">` + "\n")
	var p pen
	for y, l := range lines {
		x := 0
		for l != "" {
			text := l
			if at := sgr.FindStringSubmatchIndex(l); at != nil {
				if text = l[:at[0]]; text == "" {
					p = p.set(l[at[2]:at[3]])
					l = l[at[1]:]
					continue
				}
			}
			l = l[len(text):]
			p.draw(&b, text, x, y)
			x += ansi.StringWidth(text)
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

func (p pen) draw(b *strings.Builder, text string, x, y int) {
	fg, bg := p.ink, p.paper
	if fg == "" {
		fg = ink
	}
	if p.reverse {
		fg, bg = paper, fg
	}
	left, top, width := margin+float64(x)*cellWidth, margin+bar+float64(y)*cellHeight, float64(ansi.StringWidth(text))*cellWidth
	if bg != "" {
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.0f" fill="%s"/>`+"\n", left, top, width, cellHeight, bg)
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	weight := ""
	if p.bold {
		weight = ` font-weight="bold"`
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" fill="%s"%s textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`+"\n", left, top+13, fg, weight, width, html.EscapeString(strings.ReplaceAll(text, " ", "\u00a0")))
}

// set applies the numbers of one SGR sequence, as far as the dashboard uses them.
func (p pen) set(numbers string) pen {
	list := strings.FieldsFunc(numbers, func(r rune) bool { return r == ';' || r == ':' })
	if len(list) == 0 {
		return pen{}
	}
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case "0":
			p = pen{}
		case "1":
			p.bold = true
		case "22":
			p.bold = false
		case "7":
			p.reverse = true
		case "27":
			p.reverse = false
		case "39":
			p.ink = ""
		case "49":
			p.paper = ""
		case "38", "48":
			colour, used := colourOf(list[i+1:])
			if list[i] == "38" {
				p.ink = colour
			} else {
				p.paper = colour
			}
			i += used
		}
	}
	return p
}

// colourOf reads 5;n or 2;r;g;b, and says how many numbers that were.
func colourOf(list []string) (string, int) {
	n := make([]uint8, len(list))
	for i, text := range list {
		v, _ := strconv.ParseUint(text, 10, 8)
		n[i] = uint8(v)
	}
	switch {
	case len(n) >= 2 && n[0] == 5:
		r, g, b, _ := ansi.IndexedColor(n[1]).RGBA()
		return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8), 2
	case len(n) >= 4 && n[0] == 2:
		return fmt.Sprintf("#%02x%02x%02x", n[1], n[2], n[3]), 4
	}
	return "", len(n)
}
