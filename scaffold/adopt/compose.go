package adopt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/dotenv"
	"github.com/ebef7166/mesh/manifest"
)

// composer turns Compose files into a workspace.
type composer struct {
	*Result
	dir      string            // the workspace's
	root     string            // the first Compose file's: what its paths are seen from
	env      map[string]string // of the .env beside it
	services []*composed       // sorted by Compose's names
}

// composed is one service of Compose.
type composed struct {
	*composer
	node
	original string // its name in Compose
	name     string // and here
	s        *manifest.Service
	port     int  // in the container; 0: none is known
	tcp      bool // something else than HTTP is spoken there
}

// Compose reads Compose files, each laid over those before it, for a workspace in
// dir. names is how messages call them.
//
// They are read as YAML and not by Compose's own loader, which would put values
// in the place of variables, secrets among them, and knows no lines.
func Compose(dir string, files, names []string) (*Result, error) {
	doc, err := readFiles(files, names)
	if err != nil {
		return nil, err
	}
	c := &composer{Result: &Result{Name: workspaceName(dir), Services: map[string]*manifest.Service{}, from: names}, dir: dir, root: filepath.Dir(files[0])}
	if c.env, err = dotenv.Read(filepath.Join(c.root, ".env")); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	c.top(doc)
	c.needed(doc.get("services"), map[string]bool{})
	for _, key := range doc.get("services").keys() {
		c.take(key, doc.get("services").get(key))
	}
	for _, s := range c.services {
		s.listens()
	}
	c.referredPorts()
	for _, s := range c.services {
		s.translate()
	}
	c.completes()
	c.keepPortsApart()
	c.sortNotes()
	return c.Result, nil
}

// top reads what is not about one service.
func (c *composer) top(doc node) {
	for _, key := range doc.keys() {
		n := doc.get(key)
		switch {
		case key == "name":
			c.Name = usable(resolved(n.text(), c.env))
		case key == "volumes":
			for _, volume := range n.keys() {
				for _, what := range n.get(volume).keys() {
					c.note(n.get(volume).get(what).problem("%s of the volume %s is not translated: mesh keeps a volume of its own", what, volume))
				}
			}
		case key == "services", key == "version", strings.HasPrefix(key, "x-"):
		default:
			c.note(n.problem("%s is not translated%s", key, because[key]))
		}
	}
}

// needed says once of each variable that Compose would not start without (${NAME:?why})
// and that .env does not have.
func (c *composer) needed(n node, said map[string]bool) {
	for _, key := range n.keys() {
		c.needed(n.get(key), said)
	}
	if _, list := n.value.([]any); list {
		for _, item := range n.items() {
			c.needed(item, said)
		}
	}
	for name, why := range required(n.text(), c.env) {
		if !said[name] {
			said[name] = true
			c.note(n.problem("%s must be set%s: write it into .env", name, why))
		}
	}
}

// because says what mesh has instead of what it does not translate.
var because = map[string]string{
	"networks":                   ": services reach each other by what calls names, and nothing else",
	"secrets":                    ": put them into .env, which mesh reads and masks",
	"configs":                    ": mount a file with volumes",
	"include":                    ": name that file too, after this one",
	"extends":                    ": write what it takes from there into this service",
	"privileged":                 ": mesh gives no container more privileges",
	"cap_add":                    ": mesh gives no container more privileges",
	"healthcheck.start_period":   ": a start may take its time, and is asked often until it is done",
	"healthcheck.start_interval": ": a start may take its time, and is asked often until it is done",
	"links":                      ": calls tells addresses, by ${NAME_URL} and ${NAME_ADDR}",
	"entrypoint":                 ": the image's own is used, and run gives it arguments",
}

func (c *composer) take(key string, n node) {
	s := &composed{composer: c, node: n, original: key, s: &manifest.Service{}}
	name := usable(key)
	if slices.Contains([]string{"nats", "database", "consul-http"}, name) {
		name += "-server" // its address would be a variable of mesh's own
	}
	s.name = c.add(key, name, s.s, n.problem(""))
	c.services = append(c.services, s)
}

// byOriginal finds a service by its name in Compose.
func (c *composer) byOriginal(name string) *composed {
	for _, s := range c.services {
		if s.original == name {
			return s
		}
	}
	return nil
}

// completes makes tasks of the services whose end others wait for.
func (c *composer) completes() {
	for _, s := range c.services {
		for name, condition := range s.s.DependsOn {
			if condition == manifest.Completed {
				task := c.Services[name]
				task.Kind, task.Ports, task.Port, task.Protocol, task.Health, task.Restart = manifest.KindTask, nil, 0, "", nil, nil
			}
		}
	}
}

// keepPortsApart drops the second use of a fixed port, and moves the gateway out
// of the way of all.
func (c *composer) keepPortsApart() {
	taken := map[int]string{}
	for _, s := range c.services {
		if other := taken[s.s.Port]; s.s.Port != 0 && other != "" {
			c.note(s.get("ports").problem("port %d is %s's already: %s gets a free one", s.s.Port, other, s.name))
			s.s.Port = 0
		}
		taken[s.s.Port] = s.name
	}
	for port := 8080; ; port++ {
		if taken[port] == "" {
			if port != 8080 {
				c.Gateway = "127.0.0.1:" + itoa(port)
			}
			return
		}
	}
}
