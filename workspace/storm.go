package workspace

import (
	"fmt"
	"maps"
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
	recent map[string][]time.Time // reloads by saves, of each service
	calmed map[string]string      // services that saves reload no more, and what is said of it
}

// allow notes a reload at a time because of a file. It reports whether the reload
// may be, and what is to be said when it is the first that may not.
func (s *storms) allow(service *manifest.Service, file string, at time.Time) (ok bool, say string) {
	if service.Go != "" || len(service.Watch) > 0 {
		return true, "" // the compiler finds what is new, or the user knows
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calmed[service.Name] != "" {
		return false, ""
	}
	recent := slices.DeleteFunc(s.recent[service.Name], func(t time.Time) bool { return at.Sub(t) > stormWindow })
	if len(recent) < stormReloads {
		s.put(service.Name, append(recent, at), "")
		return true, ""
	}
	say = fmt.Sprintf("%s is not reloaded by saves any more: it was %d times within %v, the last time for %s, which it seems to write itself; name what counts by watch: in its manifest",
		service.Name, len(recent), stormWindow, file)
	s.put(service.Name, nil, say)
	return false, say
}

func (s *storms) put(name string, recent []time.Time, say string) {
	if s.recent == nil {
		s.recent, s.calmed = map[string][]time.Time{}, map[string]string{}
	}
	s.recent[name] = recent
	s.calmed[name] = say
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
		if s.calmed[name] != "" {
			all = append(all, s.calmed[name])
		}
	}
	return all
}
