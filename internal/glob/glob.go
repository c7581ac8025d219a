// Package glob matches paths with slashes as path.Match does, and ** for any number
// of folders.
package glob

import (
	"path"
	"strings"
)

// Match reports whether a path is one of those that glob names.
func Match(glob, name string) bool {
	before, after, double := strings.Cut(glob, "**")
	if !double {
		ok, err := path.Match(glob, name)
		return err == nil && ok
	}
	rest, in := strings.CutPrefix(name, before)
	if !in {
		return false
	}
	after = strings.TrimPrefix(after, "/")
	for {
		if after == "" || Match(after, rest) {
			return true
		}
		_, next, found := strings.Cut(rest, "/")
		if !found {
			return false
		}
		rest = next
	}
}

// Leaves reports that a glob names what lies outside the folder that it is seen from.
func Leaves(glob string) bool {
	return path.IsAbs(glob) || path.Clean(glob) == ".." || strings.HasPrefix(path.Clean(glob), "../")
}

// Base is the folder below which all lies that glob names.
func Base(glob string) string {
	var fixed []string
	for part := range strings.SplitSeq(path.Clean(glob), "/") {
		if strings.ContainsAny(part, `*?[\`) {
			return path.Join(fixed...)
		}
		fixed = append(fixed, part)
	}
	return path.Dir(path.Clean(glob))
}
