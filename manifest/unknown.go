package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// composeNames gives mesh's name for a key of Compose's.
var composeNames = map[string]string{
	"command": "run", "entrypoint": "run", "environment": "env", "healthcheck": "health",
	"restart_policy": "restart", "stop_grace_period": "stop.grace", "stop_signal": "stop.signal",
	"scale": "replicas", "expose": "port", "working_dir": "dir", "mem_limit": "resources.memory",
	"cpus": "resources.cpus", "deploy": "replicas and resources", "container_name": "name",
	"links": "calls", "networks": "calls", "test": "command or http", "retries": "threshold",
	"start_period": "threshold", "timeout_seconds": "timeout",
}

// UnknownKey says that there is no such key, and which there are.
func UnknownKey(name string, known []string) string {
	return unknownKey(name, "the manifest", known)
}

func unknownKey(name, where string, known []string) string {
	in := ""
	if where != "the manifest" {
		in = " in " + where
	}
	if ours, ok := composeNames[name]; ok && !slices.Contains(known, name) {
		return fmt.Sprintf("unknown key %q%s: that is Compose's; mesh calls it %s", name, in, ours)
	}
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("unknown key %q%s; did you mean %q?", name, in, near)
	}
	return fmt.Sprintf("unknown key %q%s; it may be one of %s", name, in, strings.Join(known, ", "))
}

// nearest is the candidate at most two edits away from name, or "".
func nearest(name string, candidates []string) string {
	best, distance := "", 3
	for _, c := range candidates {
		if d := editDistance(name, c); d < distance && d < len(c) {
			best, distance = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
