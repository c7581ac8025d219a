package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/dustin/go-humanize"
)

// Container reports whether the service runs in a container.
func (s *Service) Container() bool {
	switch {
	case s.External():
		return false
	case s.Driver == "process" && s.Image == "":
		return s.Go == "" && s.Run.Empty() // there is nothing else to run
	}
	return s.Driver == "container" || s.Image != "" || s.Dockerfile != ""
}

// UseDriver sets the driver of services that do not say theirs. What only a
// command runs stays a process: there is no image of it.
func (w *Workspace) UseDriver(driver string) {
	for _, s := range w.Services {
		if s.Driver == "" && (s.Go != "" || driver == "process") {
			s.Driver = driver
		}
	}
}

// HasContainers reports whether any of services runs in a container.
func HasContainers(services []*Service) bool {
	return slices.ContainsFunc(services, (*Service).Container)
}

// FixedPort is the main port inside the container where ports has exactly one
// that the image fixes; 0 otherwise.
func (s *Service) FixedPort() int {
	fixed := 0
	for _, p := range s.Ports {
		if p.Container != 0 && fixed != 0 {
			return 0
		}
		if p.Container != 0 {
			fixed = p.Container
		}
	}
	return fixed
}

// firstMorePort is the number of the first further port inside a container for
// which the image fixes none.
const firstMorePort = 8081

// PortVariable tells a service the number of an entry of its ports.
func (s *Service) PortVariable(name string) string {
	return cmp.Or(s.Ports[name].Variable, EnvName(name)+"_PORT")
}

// MorePorts are the numbers of the further ports inside a container, by name.
func (s *Service) MorePorts() map[string]int {
	numbers, next := map[string]int{}, firstMorePort
	for _, name := range slices.Sorted(maps.Keys(s.Ports)) {
		p := s.Ports[name]
		switch {
		case p.Container == 0:
			numbers[name] = next
			next++
		case p.Container != s.FixedPort():
			numbers[name] = p.Container
		}
	}
	return numbers
}

// Volume is one of a container.
type Volume struct {
	Source   string // a name, or a path that starts with . or /
	Target   string // absolute, inside
	ReadOnly bool
}

// Named reports whether the engine keeps the volume.
func (v Volume) Named() bool {
	return !strings.HasPrefix(v.Source, ".") && !strings.HasPrefix(v.Source, "/")
}

// ParseVolume reads NAME:/TARGET or ./PATH:/TARGET, with :ro where it is not
// written to.
func ParseVolume(text string) (Volume, error) {
	parts := strings.Split(text, ":")
	v := Volume{}
	if len(parts) == 3 && (parts[2] == "ro" || parts[2] == "rw") {
		v.ReadOnly = parts[2] == "ro"
		parts = parts[:2]
	}
	if len(parts) != 2 || parts[0] == "" || !path.IsAbs(parts[1]) || path.Clean(parts[1]) == "/" {
		return v, fmt.Errorf("%q is no volume: write NAME:/target or ./path:/target, with :ro where it is only read", text)
	}
	v.Source, v.Target = parts[0], path.Clean(parts[1])
	if v.Named() && !ValidName(v.Source) {
		return v, fmt.Errorf("%q is no name for a volume: lower-case letters, digits and dashes, at most 40, starting with a letter; a path starts with ./ or /", v.Source)
	}
	return v, nil
}

// leastMemory is what engines ask for at least.
const leastMemory = 6 << 20

// ForContainers names the keys that have no effect, since they are for containers
// and their services run as processes: by the driver that UseDriver set, if any.
func (w *Workspace) ForContainers() (warnings []Problem) {
	for _, s := range w.Services {
		for _, key := range s.containerKeys() {
			path := s.path(key)
			if s.source.has(path) && !s.Container() {
				warnings = append(warnings, s.source.problemKey(path, "%s is for containers: it has no effect while the service runs as a process", key))
			}
		}
	}
	return warnings
}

// containerKeys are the keys of the service that mean something to a container only.
func (s *Service) containerKeys() (keys []string) {
	for _, of := range []struct {
		key   string
		given bool
	}{{"resources", s.Resources != nil}, {"volumes", len(s.Volumes) > 0}, {"user", s.User != ""}, {"read_only", s.ReadOnly != nil}} {
		if of.given {
			keys = append(keys, of.key)
		}
	}
	return keys
}

// driver holds that there is something that the driver can run.
func (c *checker) driver() {
	s := c.s
	switch {
	case s.Driver == "container" && s.Go == "" && s.Image == "" && s.Dockerfile == "":
		c.fail([]any{"driver"}, "driver: container needs something to make an image of: give go, dockerfile or image")
	case s.Driver == "process" && s.Container():
		c.fail([]any{"driver"}, "driver: process needs go or run: an image runs as a container")
	case s.Image != "" && s.Dockerfile != "":
		c.fail([]any{"image"}, "image and dockerfile exclude each other")
	}
}

// reachesSocket reports whether name is where engines usually have their socket,
// or a folder that holds it.
func reachesSocket(name string) bool {
	return slices.ContainsFunc([]string{"/var/run/docker.sock", "/run/docker.sock"}, func(socket string) bool {
		rel, err := filepath.Rel(name, socket)
		return err == nil && filepath.IsLocal(rel)
	})
}

// bounds checks what a container may reach and use.
func (c *checker) bounds() {
	s := c.s
	if s.Image != "" {
		if _, err := reference.ParseAnyReference(s.Image); err != nil {
			c.fail([]any{"image"}, "%q is no name of an image: %v", s.Image, err)
		}
	}
	for i, text := range s.Volumes {
		v, err := ParseVolume(text)
		switch {
		case err != nil:
			c.fail([]any{"volumes", i}, "%v", err)
		case !v.Named() && reachesSocket(absolute(s.Dir, v.Source)):
			c.fail([]any{"volumes", i}, "%s would give the container the engine's socket, and with it this machine: mesh does not mount it", v.Source)
		}
	}
	if s.Resources == nil || s.Resources.Memory == "" {
		return
	}
	if memory, err := humanize.ParseBytes(s.Resources.Memory); err != nil || memory < leastMemory {
		c.fail([]any{"resources", "memory"}, "%q is no amount of memory that a program could run with: write it as 256MiB, at least 6MiB", s.Resources.Memory)
	}
}
