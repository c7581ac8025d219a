package workspace

import (
	"maps"
	"slices"
	"time"

	"github.com/ebef7166/mesh/runtime"
)

// why says for a gateway's 503 what is the matter with a service.
func (w *Workspace) why(service string) string {
	worst, found := worstOf(w.supervisor.Look(service).Instances)
	if !found {
		return "it does not run"
	}
	if worst.State == runtime.Healthy { // else the registry need not be asked
		if silent := w.endpoints.silent(service); len(silent) > 0 {
			return keptAway(silent)
		}
	}
	if worst.Reason == "" {
		return "it is " + string(worst.State)
	}
	return "it is " + string(worst.State) + ": " + worst.Reason
}

// keptAway says of the first of the instances that the registry keeps from requests why.
func keptAway(silent map[string]string) string {
	id := slices.Min(slices.Collect(maps.Keys(silent)))
	return id + " is healthy and gets no requests: " + silent[id]
}

// How long a request waits for a service that will soon have an instance: longer
// for one that is always stopped before it is started anew.
const (
	shortHold   = time.Second
	replaceHold = 10 * time.Second
)

// hold is how long a request waits for a service without a healthy instance.
func (w *Workspace) hold(service string) time.Duration {
	now := w.supervisor.Look(service)
	state, _ := now.Service(service)
	soon := slices.ContainsFunc(now.Instances, func(i runtime.Instance) bool { return !i.State.Final() })
	s, known := w.Manifest().Service(service)
	switch {
	case !soon && (!state.Changing || state.Stopped): // between two instances it is changing
		return 0
	case known && s.Reload == "replace":
		return replaceHold
	}
	return shortHold
}
