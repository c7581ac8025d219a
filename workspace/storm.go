package workspace

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ebef7166/mesh/manifest"
)

// A service that writes below its own folder would be reloaded for each write,
// and write again: nobody saves that often by hand.
const (
	stormReloads = 10
	stormWindow  = 20 * time.Second
)

// storms are the services that seem to cause their own reloads.
type storms struct {
	mu     sync.Mutex
	recent map[string][]reload          // by saves, of each service
	calmed map[string]map[string]string // by service, the kinds of files that reload it no more, and what is said of each
}

// reload is one because of a file of a kind.
type reload struct {
	at   time.Time
	kind string
}

// every stands for files of any kind.
const every = "any file"

// patternOf is what files that one program writes have in common, whatever they are
// called: the folder and the ending.
func patternOf(file string) string { return filepath.Join(filepath.Dir(file), "*"+filepath.Ext(file)) }

// allow notes a reload at a time because of a file. It reports whether the reload
// may be, and what is to be said when it is the first that may not. Files of other
// kinds than those that come so often reload the service as before.
func (s *storms) allow(service *manifest.Service, file string, at time.Time) (ok bool, say string) {
	if knows(service) {
		return true, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calm(service.Name, file) {
		return false, ""
	}
	recent := slices.DeleteFunc(s.recent[service.Name], func(r reload) bool { return at.Sub(r.at) > stormWindow })
	if len(recent) < stormReloads {
		s.put(service.Name, append(recent, reload{at, patternOf(file)}))
		return true, ""
	}
	s.put(service.Name, nil)
	culprit := mostFrequent(recent)
	say = fmt.Sprintf("%s is not reloaded by saves of %s any more: it was %d times within %v, the last time for %s, which it seems to write itself; name what counts by watch: in its manifest",
		service.Name, culprit, len(recent), stormWindow, file)
	if s.calmed[service.Name] == nil {
		s.calmed[service.Name] = map[string]string{}
	}
	s.calmed[service.Name][culprit] = say
	return !s.calm(service.Name, file), say
}

// knows reports that a service needs no calming: the compiler finds what is new, or
// the user has said what counts.
func knows(service *manifest.Service) bool { return service.Go != "" || len(service.Watch) > 0 }

// calm reports that a file reloads a service no more; s is locked.
func (s *storms) calm(service, file string) bool {
	kinds := s.calmed[service]
	return kinds[every] != "" || kinds[patternOf(file)] != ""
}

// counting are those of paths that still reload a service.
func (s *storms) counting(service *manifest.Service, dir string, paths []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return !knows(service) && s.calm(service.Name, within(dir, path)) })
}

// within is a path as it is seen from dir.
func within(dir, path string) string {
	if rel, err := filepath.Rel(dir, path); err == nil {
		return rel
	}
	return path
}

// mostFrequent is the kind of file that most reloads came of; every, where no kind
// came twice.
func mostFrequent(reloads []reload) string {
	most, count := every, map[string]int{every: 1}
	for _, r := range reloads {
		if count[r.kind]++; count[r.kind] > count[most] {
			most = r.kind
		}
	}
	return most
}

func (s *storms) put(name string, recent []reload) {
	if s.recent == nil {
		s.recent, s.calmed = map[string][]reload{}, map[string]map[string]string{}
	}
	s.recent[name] = recent
}

// forget lets all services be reloaded again.
func (s *storms) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.recent)
	clear(s.calmed)
}

// said is what is to be known of the services that are not reloaded.
func (s *storms) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.calmed)) {
		all = append(all, slices.Sorted(maps.Values(s.calmed[name]))...)
	}
	return all
}
