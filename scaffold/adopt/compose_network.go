package adopt

import (
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ebef7166/mesh/internal/dotenv"
	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/manifest"
)

// known are images that many systems have beside their own code: the port that
// they listen on, whether that speaks something else than HTTP, and whether they
// want to start as root and become somebody else by themselves.
var known = map[string]struct {
	port      int
	tcp, root bool
}{
	"postgres": {5432, true, true}, "postgis": {5432, true, true}, "pgvector": {5432, true, true}, "mysql": {3306, true, true}, "mariadb": {3306, true, true},
	"mongo": {27017, true, true}, "redis": {6379, true, true}, "valkey": {6379, true, true}, "memcached": {11211, true, false},
	"rabbitmq": {5672, true, true}, "kafka": {9092, true, false}, "cp-kafka": {9092, true, false}, "redpanda": {9092, true, false},
	"zookeeper": {2181, true, true}, "cp-zookeeper": {2181, true, false}, "nats": {4222, true, false},
	"elasticsearch": {9200, false, false}, "nginx": {80, false, true}, "httpd": {80, false, true}, "wordpress": {80, false, true}, "mailhog": {8025, false, false},
}

// schemes are the ports of URLs that name none.
var schemes = map[string]int{"http": 80, "redis": 6379, "postgres": 5432, "postgresql": 5432, "mysql": 3306, "mysql2": 3306,
	"amqp": 5672, "mongodb": 27017, "nats": 4222}

func imageName(image string) string {
	name := path.Base(image)
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	return name
}

func speaksTCP(port int) bool {
	for _, k := range known {
		if k.tcp && k.port == port {
			return true
		}
	}
	return false
}

// mapping is one entry of ports.
type mapping struct {
	host, container int // 0: any, and none that mesh could publish
	text            string
	node            node
}

// mappings are the entries of ports, in short or long form.
func (c *composed) mappings() (out []mapping) {
	for _, item := range c.get("ports").items() {
		m := mapping{text: resolved(item.text(), c.env), node: item}
		host, container, protocol := shortMapping(m.text)
		if m.text == "" {
			m.text = item.get("target").text()
			host, container, protocol = resolved(item.get("published").text(), c.env), m.text, item.get("protocol").text()
		}
		m.host, _ = strconv.Atoi(host)
		if protocol != "udp" {
			m.container, _ = strconv.Atoi(container) // 0 for a range, too
		}
		out = append(out, m)
	}
	return out
}

// shortMapping takes [[ADDRESS:]HOST:]CONTAINER[/PROTOCOL] apart.
func shortMapping(text string) (host, container, protocol string) {
	text, protocol, _ = strings.Cut(text, "/")
	parts := strings.Split(text, ":")
	if len(parts) > 1 {
		host = parts[len(parts)-2]
	}
	return host, parts[len(parts)-1], protocol
}

// listens finds out where the service listens, from what it publishes and exposes
// and from what its image is known for.
func (c *composed) listens() {
	image := known[imageName(resolved(c.get("image").text(), c.env))]
	if c.get("build").value != nil {
		image.port = 0
	}
	var ports []int
	for _, m := range c.mappings() {
		ports = append(ports, m.container)
	}
	for _, item := range c.get("expose").items() {
		port, _ := strconv.Atoi(strings.TrimSuffix(item.text(), "/tcp"))
		ports = append(ports, port)
	}
	ports = slices.DeleteFunc(ports, func(p int) bool { return p == 0 })
	switch {
	case image.port != 0 && (len(ports) == 0 || slices.Contains(ports, image.port)):
		c.port, c.tcp = image.port, image.tcp
	case len(ports) > 0:
		c.port, c.tcp = ports[0], speaksTCP(ports[0])
	}
}

// published gives the service its port, fixed where Compose publishes it.
func (c *composed) published(node) {
	for _, m := range c.mappings() {
		switch {
		case m.container == 0 || m.container != c.port:
			c.note(m.node.problem("port %s of %s is not translated: mesh publishes one TCP port of a service, %d here", m.text, c.original, c.port))
		case m.host > 0 && m.host < 1024:
			c.note(m.node.problem("port %d of %s is not kept: only root may listen there; %s gets a free one", m.host, c.original, c.name))
		case c.s.Port == 0:
			c.s.Port = m.host
		}
	}
}

// fixPort says which port the image fixes.
func (c *composed) fixPort() {
	if c.port == 0 {
		return
	}
	name, protocol := "http", ""
	if c.tcp {
		name, protocol = "tcp", "tcp"
	}
	c.s.Ports = map[string]manifest.Port{name: {Container: c.port, Protocol: protocol}}
}

// reference is a service's name in a value, with what stands around it: scheme,
// login, and port.
var reference = lazyregexp.New(`(?:([A-Za-z][A-Za-z0-9+.-]*)://)?((?:[^\s/@:,]*(?::[^\s/@,]*)?@)?)([A-Za-z0-9][A-Za-z0-9._-]*)(?::(\d+))?`)

// referredPorts learns the ports of services that say none from who calls them.
func (c *composer) referredPorts() {
	for _, s := range c.services {
		m, _ := asMap(s.get("environment").value)
		for _, value := range m {
			text, _ := value.(string)
			for _, found := range reference().FindAllStringSubmatch(text, -1) {
				other := c.byOriginal(found[3])
				if port := portOf(found); other != nil && other != s && other.port == 0 && port != 0 {
					other.port, other.tcp = port, speaksTCP(port) || found[1] != "" && found[1] != "http"
				}
			}
		}
	}
	for _, s := range c.services {
		s.fixPort()
	}
}

// portOf a reference is what it says or what its scheme means; 0: neither.
func portOf(found []string) int {
	if found[4] != "" {
		port, _ := strconv.Atoi(found[4])
		return port
	}
	scheme, _, _ := strings.Cut(found[1], "+")
	return schemes[scheme]
}

// namesHost tells variables that hold the name of a host from others, whose value
// may be a service's name by chance.
var namesHost = lazyregexp.New(`(?i)(host|hostname|server|address|addr|endpoint|broker)s?$`)

// refer translates a value: variables, and the names of services that it calls by
// the ports where they listen. What is not sure stays, and is told of.
func (c *composed) refer(n node, what, text string) string {
	text, sure := expandable(text)
	if !sure {
		c.note(n.problem("%s of %s has a variable that mesh cannot write: it has ${NAME} and ${NAME:-default}", what, c.original))
	}
	return reference().ReplaceAllStringFunc(text, func(found string) string {
		m := reference().FindStringSubmatch(found)
		other := c.byOriginal(m[3])
		switch {
		case other == nil || !isHost(m, what, text):
			return found
		case other == c:
			if found != other.original {
				c.note(n.problem("%s of %s names the service itself, by a name that means nothing in mesh: %s", what, c.original, found))
			}
			return found
		case other.port == 0:
			c.note(n.problem("%s of %s names %s, which has no port that is known: %s", what, c.original, m[3], found))
			return found
		}
		c.calls(other)
		env := manifest.EnvName(other.name)
		switch {
		case portOf(m) != other.port:
			c.note(n.problem("%s of %s is left as it is: %s; the name %s means nothing in mesh, which tells ${%s_ADDR} (host:port) and ${%s_URL}", what, c.original, found, m[3], env, env))
			return found
		case m[1] == "http" && m[2] == "":
			return "${" + env + "_URL}"
		case m[1] != "":
			return m[1] + "://" + m[2] + "${" + env + "_ADDR}"
		}
		return m[2] + "${" + env + "_ADDR}"
	})
}

// namedInFile tells of the services that a file of variables names: mesh changes no
// file. What a value is beside the name may be secret.
func (c *composed) namedInFile(n node, file, name string) {
	values, err := dotenv.Read(file)
	if err != nil {
		c.note(n.problem("env_file %s of %s could not be read, and mesh will not be able to either: %v", name, c.original, err))
	}
	over, _ := asMap(c.get("environment").value)
	for _, variable := range slices.Sorted(maps.Keys(values)) {
		if _, said := over[variable]; said {
			continue
		}
		for _, other := range c.namedBy(variable, values[variable]) {
			c.note(n.problem("%s in the env_file %s of %s names %s, %s", variable, name, c.original, other.original, c.instead(other)))
		}
	}
}

// instead is what to do about the name of another service, which is called then.
func (c *composed) instead(other *composed) string {
	if other.port == 0 {
		return "which has no port that is known"
	}
	c.calls(other)
	env := manifest.EnvName(other.name)
	return "which means nothing in mesh: say it in env, with ${" + env + "_ADDR} (host:port) or ${" + env + "_URL}"
}

// namedBy are the other services that the value of a variable names.
func (c *composed) namedBy(variable, value string) (others []*composed) {
	for _, found := range reference().FindAllStringSubmatch(value, -1) {
		other := c.byOriginal(found[3])
		if other != nil && other != c && !slices.Contains(others, other) && isHost(found, variable, value) {
			others = append(others, other)
		}
	}
	return others
}

// isHost tells the name of a host from a word that is a service's name by chance.
func isHost(found []string, variable, value string) bool {
	whole := found[1] != "" || found[2] != "" || found[4] != ""
	return whole || found[0] == value && namesHost().MatchString(variable)
}

func (c *composed) calls(other *composed) {
	if !slices.Contains(c.s.Calls, other.name) {
		c.s.Calls = append(c.s.Calls, other.name)
	}
}

// healthcheck: a request by curl or wget to the service's own port is one that
// mesh makes itself; anything else runs inside.
func (c *composed) healthcheck(n node) {
	test := n.get("test")
	list := test.texts()
	if _, isList := test.value.([]any); !isList {
		list = []string{"CMD-SHELL", test.text()}
	}
	if n.get("disable").text() == "true" || len(list) < 2 || list[0] == "NONE" {
		return
	}
	c.otherChecks(n)
	p := &manifest.Probe{Interval: c.duration(n.get("interval")), Timeout: c.duration(n.get("timeout"))}
	p.Threshold, _ = strconv.Atoi(n.get("retries").text())
	for i, word := range list[1:] {
		list[i+1], _ = expandable(word)
	}
	switch at := c.asked(strings.Join(list[1:], " ")); {
	case at != "":
		p.HTTP = at
	case list[0] == "CMD-SHELL":
		p.Command.Args = []string{"sh", "-c", list[1]}
	default:
		p.Command.Args = list[1:]
	}
	c.s.Health = p
}

// otherChecks tells of what mesh's probes have no word for.
func (c *composed) otherChecks(n node) {
	for _, key := range n.keys() {
		if !slices.Contains([]string{"test", "interval", "timeout", "retries", "disable"}, key) {
			c.untranslated(n.get(key), "healthcheck."+key)
		}
	}
}

var webRequest = lazyregexp.New(`^(?:curl|wget)\s(?:-\S+\s+)*["']?(http://[^\s"']+)["']?(?:\s*\|\|\s*exit 1)?$`)

// asked is the path that a health check by curl or wget asks for; "": none.
func (c *composed) asked(line string) string {
	m := webRequest().FindStringSubmatch(line)
	if m == nil || c.tcp {
		return ""
	}
	u, err := url.Parse(m[1])
	if err != nil || !slices.Contains([]string{"localhost", "127.0.0.1", "0.0.0.0", c.original}, u.Hostname()) {
		return ""
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if port != itoa(c.port) {
		return ""
	}
	return u.RequestURI()
}
