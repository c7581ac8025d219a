package tui

import "strings"

// addressesWidth is the width of the panel beside the services on a wide screen.
const addressesWidth = 44

// wants is the height of the panel of addresses that shows them all.
func (b statusBar) wants() int { return len(b.status.Builtins()) + 1 }

// addresses is where the parts that mesh brings are reached.
func (b statusBar) addresses(t theme, height int) string {
	var lines []string
	for _, e := range b.status.Builtins() {
		if e.Name == "control" || e.URL == "" {
			continue
		}
		lines = append(lines, " "+t.dim.Render(fit(strings.ReplaceAll(e.Name, "_", " "), 10))+clean(e.URL))
	}
	if len(lines) == 0 {
		lines = []string{"", t.dim.Render("  Asking …")}
	}
	return t.panel("Built-ins", "", lines, addressesWidth, height, false)
}
