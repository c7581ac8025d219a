package manifest

import (
	"fmt"
	"strings"
)

// Expand replaces ${NAME} and ${NAME:-default} in text; $$ is a dollar sign.
// lookup returns the value of a variable and whether there is one. A variable
// that has no value and no default is an *UnsetVariable.
func Expand(text string, lookup func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			name, tail, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return "", fmt.Errorf("%q opens ${ and never closes it", text)
			}
			value, err := variable(name, lookup)
			if err != nil {
				return "", err
			}
			out.WriteString(value)
			text = tail
		default:
			out.WriteByte('$')
			text = rest
		}
	}
}

func variable(expression string, lookup func(string) (string, bool)) (string, error) {
	name, fallback, hasFallback := strings.Cut(expression, ":-")
	if !variablePattern().MatchString(name) {
		return "", fmt.Errorf("${%s} names no variable: write ${NAME} or ${NAME:-default}", expression)
	}
	if value, ok := lookup(name); ok && (value != "" || !hasFallback) {
		return value, nil
	}
	if hasFallback {
		return fallback, nil
	}
	return "", &UnsetVariable{name}
}

// UnsetVariable says that a text needs a variable that has no value.
type UnsetVariable struct{ Name string }

func (e *UnsetVariable) Error() string {
	return fmt.Sprintf("${%s} has no value: set %s, or write ${%s:-default}", e.Name, e.Name, e.Name)
}

// checkExpansion reports what is wrong with text whatever the variables are.
func checkExpansion(text string) error {
	_, err := Expand(text, func(string) (string, bool) { return "x", true })
	return err
}
