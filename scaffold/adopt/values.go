package adopt

import (
	"maps"
	"strings"

	"github.com/ebef7166/mesh/internal/lazyregexp"
)

// pairs reads a list of KEY=VALUE; a KEY alone is nil.
func pairs(list []any) map[string]any {
	m := map[string]any{}
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			continue
		}
		if key, value, given := strings.Cut(text, "="); given {
			m[key] = value
		} else {
			m[text] = nil
		}
	}
	return m
}

func keyOf(pair string) string {
	key, _, _ := strings.Cut(pair, "=")
	return key
}

var variable = lazyregexp.New(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])([^{}]*(?:\{[^{}]*\}[^{}]*)*))?\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// each replaces every variable of Compose's in text; the operator is one of
// "", -, :-, ?, :?, + and :+.
func eachVariable(text string, replace func(name, operator, operand string) string) string {
	return variable().ReplaceAllStringFunc(text, func(found string) string {
		m := variable().FindStringSubmatch(found)
		if found == "$$" {
			return found
		}
		return replace(m[1]+m[4], m[2], m[3])
	})
}

// expandable writes Compose's variables as mesh has them: ${NAME} and
// ${NAME:-default}. sure is false where mesh has nothing alike.
func expandable(text string) (out string, sure bool) {
	sure = true
	out = eachVariable(text, func(name, operator, operand string) string {
		switch {
		case strings.HasSuffix(operator, "+"):
			sure = false
			return "${" + name + ":-}"
		case strings.HasSuffix(operator, "-"):
			if strings.Contains(operand, "$") {
				sure = false
				operand = resolved(operand, nil)
			}
			return "${" + name + ":-" + operand + "}"
		}
		return "${" + name + "}"
	})
	return out, sure
}

// resolved is text with its variables' values: those of a .env file, else their
// defaults.
func resolved(text string, env map[string]string) string {
	out := eachVariable(text, func(name, operator, operand string) string {
		value, set := env[name]
		switch {
		case strings.HasSuffix(operator, "+"):
			return ""
		case strings.HasSuffix(operator, "-") && !set:
			return resolved(operand, env)
		}
		return value
	})
	return strings.ReplaceAll(out, "$$", "$")
}

// required are the variables of text that have to have a value and have none, with
// what is said of that.
func required(text string, env map[string]string) map[string]string {
	missing := map[string]string{}
	eachVariable(text, func(name, operator, operand string) string {
		value, set := env[name]
		if strings.HasPrefix(operator, ":") {
			set = value != ""
		}
		switch {
		case set:
		case strings.HasSuffix(operator, "?") && operand != "":
			missing[name] = " (" + operand + ")"
		case strings.HasSuffix(operator, "?"):
			missing[name] = ""
		case strings.HasSuffix(operator, "-"):
			maps.Copy(missing, required(operand, env))
		}
		return ""
	})
	return missing
}

// words splits a command as a shell does, quotes and all; nothing is expanded.
func words(line string) []string {
	var out []string
	var word strings.Builder
	quote, open := rune(0), false
	escaped := false
	for _, c := range line {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, open = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, open = c, true
		case quote == 0 && strings.ContainsRune(" \t\n", c):
			if open {
				out = append(out, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(c)
			open = true
		}
	}
	if open {
		out = append(out, word.String())
	}
	return out
}
