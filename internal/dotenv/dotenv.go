// Package dotenv reads files of variables, as Compose does
// (https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/).
package dotenv

import (
	"bytes"
	"fmt"
	"os"

	compose "github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/ebef7166/mesh/internal/lazyregexp"
)

// Read reads a file of NAME=value lines. A # that follows a space begins a comment;
// ${NAME} and ${NAME:-default} in values that are not in single quotes are expanded
// over earlier lines and this process's environment, and a NAME alone is taken from
// there. An error says where, and nothing of what stands there: it may be a secret.
func Read(path string) (map[string]string, error) {
	// Opening anything else, such as a pipe, may never return.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if at := bytes.IndexByte(text, 0); at >= 0 {
		return nil, fmt.Errorf("%s:%d: has a NUL, which no variable can have", path, 1+bytes.Count(text[:at], []byte("\n")))
	}
	values, err := compose.ParseWithLookup(bytes.NewReader(text), outside(text))
	if err != nil {
		return nil, explain(path, err)
	}
	return values, nil
}

var named = lazyregexp.New(`(?m)^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t\r]*([=:]|$)`)

// asked are the names in a text that are told what they are where they are not set.
var asked = lazyregexp.New(`\$\{([A-Za-z_][A-Za-z0-9_]*)[:?+-]`)

// outside is what a name means that no earlier line of the text says: what this
// process's environment has. Of other names that mean nothing the library writes a
// warning to stderr, with parts of values that have a $ in them; it is told that these
// are empty.
func outside(text []byte) compose.LookupFn {
	lines, known := map[string]string{}, map[string]bool{} // by name: what follows it, "" where it is alone; whether it may be unset
	for _, m := range named().FindAllSubmatch(text, -1) {
		lines[string(m[1])] += string(m[2])
		known[string(m[1])] = true
	}
	for _, m := range asked().FindAllSubmatch(text, -1) {
		known[string(m[1])] = true
	}
	return func(name string) (string, bool) {
		if lines[name] != "" {
			return "", false
		}
		value, set := os.LookupEnv(name)
		return value, set || !known[name]
	}
}

var lineOf = lazyregexp.New(`^line (\d+): (unterminated)?`)

func explain(path string, err error) error {
	m := lineOf().FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return fmt.Errorf("%s: a ${…} in it is not well formed, or asks for a variable that has no value", path)
	case m[2] != "":
		return fmt.Errorf("%s:%s: a quote is opened, here or before, and never closed", path, m[1])
	}
	return fmt.Errorf("%s:%s: is not NAME=value; a value of several lines stands in quotes", path, m[1])
}
