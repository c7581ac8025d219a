package adopt

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/manifest"
)

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// volumes in short or long form.
func (c *composed) volumes(n node) {
	for _, item := range n.items() {
		source, target, mode := c.volume(item)
		written := source
		switch {
		case source == "":
			c.note(item.problem("the volume %s of %s is not translated: it has no name", target, c.original))
			continue
		case strings.HasPrefix(source, ".") || strings.HasPrefix(source, "/") || strings.HasPrefix(source, "~"):
			source = c.bound(item, source)
		default:
			source = usable(source)
			c.shared(item, source)
		}
		text := source + ":" + target + mode
		if _, err := manifest.ParseVolume(text); source == "" || err != nil {
			c.note(item.problem("the volume %s:%s of %s is not translated: mesh does not mount it", written, target, c.original))
			continue
		}
		c.s.Volumes = append(c.s.Volumes, text)
	}
}

// volume takes one apart. A source that Compose names . or ~ is a folder.
func (c *composed) volume(n node) (source, target, mode string) {
	if text := n.text(); text != "" {
		parts := strings.Split(resolved(text, c.env), ":")
		if len(parts) == 1 {
			return "", parts[0], ""
		}
		if len(parts) == 3 && slices.Contains(strings.Split(parts[2], ","), "ro") {
			mode = ":ro"
		}
		return parts[0], parts[1], mode
	}
	source, target = resolved(n.get("source").text(), c.env), resolved(n.get("target").text(), c.env)
	if n.get("read_only").text() == "true" {
		mode = ":ro"
	}
	if kind := n.get("type").text(); kind != "" && kind != "bind" && kind != "volume" {
		return "", target + " (" + kind + ")", ""
	}
	return source, target, mode
}

// bound is a folder or file of the machine as the service's folder sees it.
func (c *composed) bound(n node, source string) string {
	if strings.HasPrefix(source, "/") || strings.HasPrefix(source, "~") {
		if strings.Contains(source, "docker.sock") || source[0] == '~' {
			return "" // never mounted; not the same for everybody
		}
		return source
	}
	file := filepath.Join(c.root, filepath.FromSlash(source))
	if !exists(file) {
		c.note(n.problem("%s, a volume of %s, is not there: Compose would make a folder, mesh does not", source, c.original))
	}
	rel := below(c.folder(), file)
	if !strings.HasPrefix(rel, ".") {
		rel = "./" + rel
	}
	return rel
}

// shared says that a volume is one of each service.
func (c *composed) shared(n node, name string) {
	for _, other := range c.services {
		if other == c {
			continue
		}
		for _, item := range other.get("volumes").items() {
			if source, _, _ := other.volume(item); usable(source) == name && source != "" && source[0] != '.' && source[0] != '/' {
				c.note(n.problem("the volume %s is also %s's: in mesh each service has one of its own", name, other.original))
				return
			}
		}
	}
}

func (c *composed) restart(n node) {
	policy, _, _ := strings.Cut(n.text(), ":")
	switch policy {
	case "no", "false":
		c.s.Restart = &manifest.Restart{Policy: "never"}
	case "on-failure":
		c.s.Restart = &manifest.Restart{Policy: "on-failure"}
	}
}

func (c *composed) deploy(n node) {
	for _, key := range n.keys() {
		switch key {
		case "replicas":
			c.scale(n.get(key))
		case "resources":
			limits := n.get(key).get("limits")
			c.cpus(limits.get("cpus"))
			c.memory(limits.get("memory"))
		default:
			c.untranslated(n.get(key), "deploy."+key)
		}
	}
}

func (c *composed) scale(n node) {
	if replicas, err := strconv.Atoi(resolved(n.text(), c.env)); err == nil {
		c.s.Replicas = &replicas
	}
}

func (c *composed) limits() *manifest.Resources {
	if c.s.Resources == nil {
		c.s.Resources = &manifest.Resources{}
	}
	return c.s.Resources
}

func (c *composed) cpus(n node) {
	if cpus, err := strconv.ParseFloat(resolved(n.text(), c.env), 64); err == nil {
		c.limits().CPUs = cpus
	}
}

var amount = lazyregexp.New(`^(\d+)\s*([kmgKMG])?[bB]?$`)

// memory: what Compose calls M has 1024 times 1024 bytes.
func (c *composed) memory(n node) {
	m := amount().FindStringSubmatch(resolved(n.text(), c.env))
	switch {
	case n.value == nil:
	case m == nil:
		c.untranslated(n, "memory "+n.text())
	case m[2] == "":
		c.limits().Memory = m[1] + "B"
	default:
		c.limits().Memory = m[1] + strings.ToUpper(m[2]) + "iB"
	}
}

func (c *composed) stopping() *manifest.Stop {
	if c.s.Stop == nil {
		c.s.Stop = &manifest.Stop{}
	}
	return c.s.Stop
}

var signals = []string{"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"}

func (c *composed) stopSignal(n node) {
	signal := "SIG" + strings.TrimPrefix(strings.ToUpper(n.text()), "SIG")
	if !slices.Contains(signals, signal) {
		c.untranslated(n, "stop_signal "+n.text())
		return
	}
	c.stopping().Signal = signal
}

func (c *composed) stopGrace(n node) { c.stopping().Grace = c.duration(n) }

// duration is one of Compose's; a number alone is in seconds.
func (c *composed) duration(n node) manifest.Duration {
	text := resolved(n.text(), c.env)
	if _, err := strconv.Atoi(text); err == nil {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil && n.value != nil {
		c.untranslated(n, n.text())
	}
	return manifest.Duration(d)
}
