package adopt

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/manifest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// translators are the keys of a service that mesh has a word for.
var translators = map[string]func(*composed, node){
	"image": (*composed).image, "build": (*composed).build, "command": (*composed).command,
	"environment": (*composed).environment, "env_file": (*composed).envFiles,
	"ports": (*composed).published, "expose": func(*composed, node) {}, // both read before, by listens
	"volumes": (*composed).volumes, "depends_on": (*composed).dependsOn, "healthcheck": (*composed).healthcheck,
	"restart": (*composed).restart, "deploy": (*composed).deploy, "scale": (*composed).scale,
	"mem_limit": (*composed).memory, "cpus": (*composed).cpus, "user": (*composed).user, "read_only": (*composed).readOnly,
	"profiles": (*composed).profiles, "stop_signal": (*composed).stopSignal, "stop_grace_period": (*composed).stopGrace,
}

func (c *composed) translate() {
	c.place()
	for _, key := range c.keys() {
		n := c.get(key)
		if do := translators[key]; do != nil {
			do(c, n)
		} else if !strings.HasPrefix(key, "x-") {
			c.untranslated(n, key)
		}
	}
	if c.port == 0 {
		c.s.Kind = manifest.KindWorker
		if c.get("restart").value == nil { // it may be one that comes to an end
			c.s.Restart = &manifest.Restart{Policy: "on-failure"}
		}
		if h := c.s.Health; h != nil && h.Command.Empty() {
			c.s.Health = nil
		}
	}
	if c.tcp {
		c.s.Protocol = "tcp"
	}
	slices.Sort(c.s.Calls)
}

func (c *composed) untranslated(n node, key string) {
	c.note(n.problem("%s of %s is not translated%s", key, c.original, because[key]))
}

// place is the service's folder: that of its build, else the Compose file's.
func (c *composed) place() {
	dir := c.root
	if context := c.context(); context != "" {
		dir = filepath.Join(c.root, filepath.FromSlash(context))
	}
	if c.s.Dir = below(c.dir, dir); c.s.Dir == "." {
		c.s.Dir = ""
	}
}

func (c *composed) context() string {
	build := c.get("build")
	context := build.text()
	if context == "" {
		context = build.get("context").text()
	}
	return resolved(context, c.env)
}

// folder of the service.
func (c *composed) folder() string { return filepath.Join(c.dir, filepath.FromSlash(c.s.Dir)) }

func (c *composed) image(n node) {
	if c.get("build").value != nil {
		return // the name of what is built
	}
	c.s.Image = resolved(n.text(), c.env)
	if c.s.Image != n.text() {
		c.note(n.problem("image of %s is written as it is now, %s: mesh expands no variables there", c.original, c.s.Image))
	}
	if known[imageName(c.s.Image)].root {
		c.s.User = "root" // it gives that up by itself
	}
}

func (c *composed) build(n node) {
	c.s.Dockerfile = "Dockerfile"
	for _, key := range n.keys() {
		switch key {
		case "context":
		case "dockerfile":
			c.s.Dockerfile = path.Clean(resolved(n.get(key).text(), c.env))
		default:
			c.untranslated(n.get(key), "build."+key)
		}
	}
	switch {
	case strings.HasPrefix(c.s.Dir, ".."):
		c.note(n.problem("%s is built from %s, outside the workspace, which is all that the engine gets to see: import into a folder above both, with -C", c.original, c.context()))
	case c.s.Dir != "":
		c.note(n.problem("%s is built with the workspace as the context, not %s: in its Dockerfile, COPY and ADD take paths that begin with %s/", c.original, c.context(), c.s.Dir))
	}
}

func (c *composed) command(n node) {
	list := n.texts()
	if _, isList := n.value.([]any); !isList {
		list = words(n.text())
	}
	for _, word := range list {
		c.s.Run.Args = append(c.s.Run.Args, c.refer(n, "command", word))
	}
}

var variableName = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (c *composed) environment(n node) {
	m, _ := asMap(n.value)
	n.value = m
	for _, name := range n.keys() {
		at := n.get(name)
		if !variableName().MatchString(name) {
			c.note(at.problem("%s of %s is not translated: that is no name of a variable in a shell", name, c.original))
			continue
		}
		if at.value == nil {
			c.s.EnvFromHost = append(c.s.EnvFromHost, name)
			continue
		}
		if c.s.Env == nil {
			c.s.Env = map[string]string{}
		}
		c.s.Env[name] = c.refer(at, name, at.text())
	}
}

func (c *composed) envFiles(n node) {
	for _, item := range n.items() {
		file := item.text()
		if file == "" {
			file = item.get("path").text()
		}
		file = filepath.Join(c.root, filepath.FromSlash(resolved(file, c.env)))
		name := below(c.folder(), file)
		anyway := name == ".env" || below(c.dir, file) == ".env" // mesh reads these by itself
		switch {
		case exists(file):
			c.namedInFile(item, file, name)
			if !anyway {
				c.s.EnvFile = append(c.s.EnvFile, name)
			}
		case !anyway:
			c.note(item.problem("env_file %s of %s is left out: there is no such file; add env_file: %s once there is", item.name(), c.original, name))
		}
	}
}

// name of a file that is written as text or as an object.
func (n node) name() string {
	if text := n.text(); text != "" {
		return text
	}
	return n.get("path").text()
}

func (c *composed) dependsOn(n node) {
	list, isList := n.value.([]any)
	if isList {
		m := map[string]any{}
		for _, name := range list {
			m[fmt.Sprint(name)] = nil
		}
		n.value = m
	}
	for _, name := range n.keys() {
		other := c.byOriginal(name)
		if other == nil {
			c.note(n.problem("%s depends on %s, which is not there", c.original, name))
			continue
		}
		if c.s.DependsOn == nil {
			c.s.DependsOn = manifest.Dependencies{}
		}
		c.s.DependsOn[other.name] = condition(n.get(name).get("condition").text())
	}
}

// condition of depends_on; Compose waits for the mere start unless told.
func condition(text string) manifest.Condition {
	switch text {
	case "service_healthy":
		return manifest.Healthy
	case "service_completed_successfully":
		return manifest.Completed
	}
	return manifest.Started
}

func (c *composed) profiles(n node) { c.s.Profiles = n.texts() }

func (c *composed) user(n node) { c.s.User = resolved(n.text(), c.env) }

func (c *composed) readOnly(n node) {
	readOnly := n.text() == "true"
	c.s.ReadOnly = &readOnly
}
