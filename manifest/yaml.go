package manifest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// UnmarshalYAML takes globs or a map of services.
func (s *ServiceSet) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&s.Globs) == nil {
		return nil
	}
	return unmarshal(&s.Inline)
}

// UnmarshalYAML takes a list, or a map from name to condition or to an object
// with a condition, as Compose writes it.
func (d *Dependencies) UnmarshalYAML(unmarshal func(any) error) error {
	*d = Dependencies{}
	var names []string
	if unmarshal(&names) == nil {
		for _, name := range names {
			(*d)[name] = Healthy
		}
		return nil
	}
	var conditions map[string]dependency
	if err := unmarshal(&conditions); err != nil {
		return err
	}
	for name, c := range conditions {
		(*d)[name] = c.Condition
	}
	return nil
}

type dependency struct{ Condition Condition }

// dependencyObject is a dependency as Compose writes it.
type dependencyObject struct {
	Condition string `yaml:"condition"`
}

func (d *dependency) UnmarshalYAML(unmarshal func(any) error) error {
	var word string
	if unmarshal(&word) != nil {
		var object dependencyObject
		if err := unmarshal(&object); err != nil {
			return err
		}
		word = object.Condition
	}
	d.Condition = composeCondition(word)
	return nil
}

func composeCondition(word string) Condition {
	switch word {
	case "", "service_healthy":
		return Healthy
	case "service_started":
		return Started
	case "service_completed_successfully":
		return Completed
	}
	return Condition(word)
}

// UnmarshalYAML takes one string or a list.
func (s *Strings) UnmarshalYAML(unmarshal func(any) error) error {
	list := []string{} // an empty list says something, too
	if unmarshal(&list) == nil {
		*s = list
		return nil
	}
	var one string
	if err := unmarshal(&one); err != nil {
		return err
	}
	*s = Strings{one}
	return nil
}

// UnmarshalYAML takes a list of arguments, or one line: without any of the
// shell's characters and commands it is split on spaces, else it is left to the shell.
func (c *Command) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&c.Args) == nil {
		return nil
	}
	var line string
	if err := unmarshal(&line); err != nil {
		return err
	}
	*c = parseCommand(line)
	return nil
}

func parseCommand(line string) Command {
	args := strings.Fields(line)
	if strings.ContainsAny(strings.ReplaceAll(line, "${", ""), "|&;<>()$`\\\"'*?[#~=%\n") || len(args) > 0 && builtin(args[0]) {
		return Command{Shell: line}
	}
	return Command{Args: args}
}

// builtin reports a word that is no program but a command of the shell's own, or the
// beginning of more (POSIX.1-2024, Shell Command Language, 2.4 and 2.15; cd and others
// work in the shell alone).
func builtin(word string) bool {
	return slices.Contains([]string{"!", "{", ".", ":", "break", "builtin", "case", "cd", "command", "continue", "eval", "exec", "exit", "export", "for", "if",
		"read", "readonly", "return", "set", "shift", "source", "times", "trap", "ulimit", "umask", "unset", "until", "wait", "while"}, word)
}

// MarshalYAML writes the command as it may be read again.
func (c Command) MarshalYAML() (any, error) {
	if c.Shell != "" {
		return c.Shell, nil
	}
	return c.Args, nil
}

// UnmarshalYAML takes a port as a number of its variable or an object.
func (p *Port) UnmarshalYAML(unmarshal func(any) error) error {
	var variable string
	if unmarshal(&variable) == nil {
		p.Variable = variable
		return nil
	}
	type plain Port
	return unmarshal((*plain)(p))
}

// UnmarshalYAML takes 500ms, 2s, 1m30s.
func (d *Duration) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration: write it as 500ms, 2s or 1m30s", text)
	}
	*d = Duration(parsed)
	return nil
}

// MarshalYAML writes the duration as it may be read again.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

var (
	_ yaml.InterfaceUnmarshaler = (*ServiceSet)(nil)
	_ yaml.InterfaceUnmarshaler = (*Dependencies)(nil)
	_ yaml.InterfaceUnmarshaler = (*Strings)(nil)
	_ yaml.InterfaceUnmarshaler = (*Command)(nil)
	_ yaml.InterfaceUnmarshaler = (*Duration)(nil)
)
