package runtime

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/manifest"
)

// Action is what an operation of a plan does.
type Action string

// The actions of a plan.
const (
	StartService   Action = "start"
	ReplaceService Action = "replace"
	ScaleService   Action = "scale"
	StopService    Action = "stop"
	RestartService Action = "restart"
	UpdatePart     Action = "update" // of mesh's own parts, which whoever applies a plan does
	HoldsLater     Action = "later"  // nothing is done now: a key of the manifest holds from the next start on
)

// Operation is one step of a plan, with the reason for it.
type Operation struct {
	Action  Action   `json:"action"`
	Service string   `json:"service"`        // "" where it is about Part
	Part    string   `json:"part,omitempty"` // a part of mesh's own, or a key of the manifest
	Cause   string   `json:"cause"`
	After   []string `json:"after,omitempty"` // "profile healthy"
}

func (o Operation) String() string {
	text := fmt.Sprintf("%-8s %s", o.Action, cmp.Or(o.Service, o.Part))
	if len(o.After) > 0 {
		text += " after " + strings.Join(o.After, ", ")
	}
	return text + " (" + o.Cause + ")"
}

// Plan is what to do, in an order that respects depends_on. It decides
// everything; carrying it out decides nothing.
type Plan []Operation

func (p Plan) String() string {
	if len(p) == 0 {
		return "nothing to do"
	}
	lines := make([]string, len(p))
	for i, o := range p {
		lines[i] = o.String()
	}
	return strings.Join(lines, "\n")
}

// Observed is what runs now: services by name.
type Observed map[string]ObservedService

// ObservedService is one service as it was last planned.
type ObservedService struct {
	Spec        string // of SpecHash
	External    bool   // it runs elsewhere
	Replicas    int
	Stopped     bool   // by a person
	Down        string // why it does not run although it was wanted; "" when it does
	Rejected    string // why its newest version does not serve; "" when it does
	Outdated    string // why what it was told at its start is not so any more; "" when it is
	Environment string // what of its environment was changed since; "" is nothing. What builds it may read it, too
}

// SpecHash identifies everything in a manifest that an instance is started with.
// What the gateway, a scale, a selection or what is watched changes is not part of it,
// nor is what it waits for: it has waited.
func SpecHash(s *manifest.Service) string {
	spec := *s
	spec.Routes, spec.Replicas, spec.Smoke, spec.References, spec.Owner, spec.Profiles = nil, nil, nil, nil, "", nil
	spec.DependsOn, spec.Watch = nil, nil
	data, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("runtime: a manifest that is no JSON: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// NewPlan compares what is wanted with what runs.
func NewPlan(want []*manifest.Service, observed Observed) Plan {
	var plan Plan
	wanted := map[string]bool{}
	for _, s := range inOrder(want) {
		wanted[s.Name] = true
		if op, ok := compare(s, observed); ok {
			plan = append(plan, op)
			if now := observed[s.Name]; op.Action == ReplaceService && now.Replicas != s.Instances() {
				plan = append(plan, Operation{Action: ScaleService, Service: s.Name, Cause: scaling(s, now)})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(observed)) {
		if !wanted[name] {
			plan = append(plan, Operation{Action: StopService, Service: name, Cause: "not wanted any more"})
		}
	}
	return plan
}

func compare(s *manifest.Service, observed Observed) (Operation, bool) {
	now, runs := observed[s.Name]
	op := Operation{Service: s.Name, After: conditions(s)}
	switch {
	case !runs:
		op.Action, op.Cause = StartService, notThere(s)
	case now.Spec != SpecHash(s):
		op.Action, op.Cause = ReplaceService, changed(s, now)
	case now.Environment != "":
		op.Action, op.Cause = ReplaceService, now.Environment
	case now.Down != "":
		op.Action, op.Cause = RestartService, now.Down
	case now.Rejected != "":
		op.Action, op.Cause = ReplaceService, now.Rejected
	case now.Outdated != "":
		op.Action, op.Cause = RestartService, now.Outdated
	case now.Replicas != s.Instances():
		op.Action, op.Cause = ScaleService, scaling(s, now)
	default:
		return op, false
	}
	return op, true
}

// notThere is why a service of its kind is to be started.
func notThere(s *manifest.Service) string {
	switch {
	case s.External():
		return atElsewhere(s)
	case s.Kind == manifest.KindTask:
		return "a task, not run yet"
	}
	return "not running"
}

func scaling(s *manifest.Service, now ObservedService) string {
	return fmt.Sprintf("%d replicas wanted, %d run", s.Instances(), now.Replicas)
}

func atElsewhere(s *manifest.Service) string {
	return "runs elsewhere, at " + s.URL + ": nothing but its address here"
}

// changed says what is different about a service that runs.
func changed(s *manifest.Service, now ObservedService) string {
	switch {
	case s.External() && !now.External:
		return "it " + atElsewhere(s)
	case now.External && !s.External():
		return "it does not run elsewhere any more"
	}
	return "its manifest changed"
}

func conditions(s *manifest.Service) []string {
	var after []string
	for name, condition := range s.DependsOn {
		after = append(after, name+" "+string(condition))
	}
	slices.Sort(after)
	return after
}

// inOrder sorts services so that each comes after what it depends on; by name
// where that leaves a choice.
func inOrder(services []*manifest.Service) []*manifest.Service {
	byName := map[string]*manifest.Service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	sorted := slices.SortedFunc(slices.Values(services), func(a, b *manifest.Service) int { return cmp.Compare(a.Name, b.Name) })
	var out []*manifest.Service
	placed := map[string]bool{}
	var place func(s *manifest.Service)
	place = func(s *manifest.Service) {
		if placed[s.Name] {
			return
		}
		placed[s.Name] = true // before the dependencies: a cycle ends here
		for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
			if byName[dep] != nil {
				place(byName[dep])
			}
		}
		out = append(out, s)
	}
	for _, s := range sorted {
		place(s)
	}
	return out
}
