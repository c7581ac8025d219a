package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// identify identifies what files tell a service, less what its own env says otherwise;
// it is "" where they could not be read.
func identify(s *manifest.Service, values map[string]string) string {
	if values == nil {
		return ""
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, over := s.Env[name]; !over || refersTo(s.Env, name) {
			fmt.Fprintf(h, "%q=%q\n", name, values[name])
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// refersTo reports that a value expands the variable called name.
func refersTo(env map[string]string, name string) bool {
	for _, value := range env {
		if strings.Contains(value, "${"+name) {
			return true
		}
	}
	return false
}

// tellings is what the files said when instances were last started, by [identify].
type tellings struct {
	mu        sync.Mutex
	services  map[string]string // when any of its instances was
	instances map[string]string
}

func (t *tellings) note(service, instance, id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.services == nil {
		t.services, t.instances = map[string]string{}, map[string]string{}
	}
	t.services[service], t.instances[instance] = id, id
}

// otherwise reports that a service, or an instance that runs, was last told
// something else. Where the newest did not become healthy the older ones are known
// to be so.
func (t *tellings) otherwise(service runtime.Service, instances []runtime.Instance, id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, started := t.services[service.Name]
	return started && last != id || service.Rejected == "" && slices.ContainsFunc(instances, func(i runtime.Instance) bool {
		was, known := t.instances[i.Instance]
		return known && i.State.Running() && was != id
	})
}

// compareVariables says of what runs where files tell it something else now. A task is
// told when it is run, and what a person has stopped when it is started. A file that
// cannot be read changes nothing; the error says why the last of them cannot.
func (w *Workspace) compareVariables(services []*manifest.Service, observed runtime.Observed) (unread error) {
	snapshot := w.supervisor.Snapshot()
	for _, s := range services {
		now, runs := observed[s.Name]
		if !runs || now.Stopped || s.Kind == manifest.KindTask || s.External() {
			continue
		}
		service, _ := snapshot.Service(s.Name)
		files, err := w.Manifest().FileVariables(s)
		if err != nil {
			unread = err
			continue
		}
		if w.tellings.otherwise(service, snapshot.Of(s.Name), identify(s, files)) {
			now.Environment = "its .env changed"
			if len(s.EnvFile) > 0 {
				now.Environment = "its .env or env_file changed"
			}
			observed[s.Name] = now
		}
	}
	return unread
}

// leaveManual hides from a plan for what was saved which services are told something
// else now, but do not want saves to do anything.
func leaveManual(services []*manifest.Service, observed runtime.Observed) {
	for _, s := range services {
		if now, runs := observed[s.Name]; runs && manual(s) {
			now.Environment = ""
			observed[s.Name] = now
		}
	}
}

// tellsVariables reports that a path is a file of variables that some service is told.
func (w *Workspace) tellsVariables(path string) bool {
	if filepath.Base(path) == manifest.EnvFileName && filepath.Dir(path) == w.Manifest().Dir {
		return true
	}
	return slices.ContainsFunc(w.running(), func(s *manifest.Service) bool { return tells(s, path) })
}

// tells reports that a path is a file of variables of a service's own.
func tells(s *manifest.Service, path string) bool {
	if len(s.EnvFile) == 0 && filepath.Base(path) != manifest.EnvFileName {
		return false // many ask: at once
	}
	return slices.Contains(s.EnvFiles(), path)
}
