// Package smoke checks a running workspace from the outside: it sends requests
// through the gateway as its users would, and holds the answers against what a
// file expects.
package smoke

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/ebef7166/mesh/manifest"
)

// Check is one file of steps, done in order; a step that fails ends the check.
type Check struct {
	Name  string `yaml:"-"` // the file's, without its ending
	File  string `yaml:"-"` // as messages name it
	Steps []Step `yaml:"steps"`
}

// document is a file as written.
type document struct {
	Version int    `yaml:"version"`
	Steps   []Step `yaml:"steps"`
}

// Step is one request and what is expected of its answer.
type Step struct {
	Name    string            `yaml:"name"`
	As      string            `yaml:"as"` // the user whose token is sent; "" for none
	Request Request           `yaml:"request"`
	Expect  Expect            `yaml:"expect"`
	Capture map[string]string `yaml:"capture"` // variable to dotted path in the answer
	Within  Duration          `yaml:"within"`  // tried again until then; once, unless given
}

// Request is what is sent. ${NAME} stands for a captured value in all of it.
type Request struct {
	Method  string            `yaml:"method"` // GET, or POST with a body
	Path    string            `yaml:"path"`
	Headers map[string]string `yaml:"headers"`
	JSON    any               `yaml:"json"`
	Body    string            `yaml:"body"`
}

// Expect is what the answer must be.
type Expect struct {
	Status  int               `yaml:"status"` // 200 unless given
	Headers map[string]string `yaml:"headers"`
	JSON    map[string]any    `yaml:"json"` // dotted path to value: cart.items.0.sku
	Body    string            `yaml:"body"` // must be part of the answer
}

// Duration is a time.Duration written as 5s.
type Duration time.Duration

// UnmarshalYAML takes 500ms, 2s, 1m30s.
func (d *Duration) UnmarshalYAML(unmarshal func(any) error) error {
	var m manifest.Duration
	err := unmarshal(&m)
	*d = Duration(m)
	return err
}

// Find returns the check files of a workspace: smoke/*.yaml and those that its
// services name, absolute and sorted.
func Find(m *manifest.Workspace) ([]string, error) {
	patterns := []string{filepath.Join(m.Dir, "smoke", "*.yaml"), filepath.Join(m.Dir, "smoke", "*.yml")}
	for _, s := range m.Services {
		for _, name := range s.Smoke {
			patterns = append(patterns, filepath.Join(s.Dir, filepath.FromSlash(name)))
		}
	}
	var files []string
	for _, p := range patterns {
		matches, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("smoke: %s: %w", p, err)
		}
		files = append(files, matches...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// Load reads check files. The error is manifest.Problems, all of them at once.
func Load(dir string, files []string) ([]Check, error) {
	var checks []Check
	var problems manifest.Problems
	for _, path := range files {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			name = path
		}
		c, err := load(path, filepath.ToSlash(name))
		if list := (manifest.Problems)(nil); errors.As(err, &list) {
			problems = append(problems, list...)
		} else if err != nil {
			return nil, err
		}
		checks = append(checks, c)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return checks, nil
}

func load(path, name string) (Check, error) {
	c := Check{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), File: name}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	var doc document
	if err := yaml.UnmarshalWithOptions(data, &doc, yaml.Strict()); err != nil {
		return c, manifest.Problems{problem(name, err)}
	}
	c.Steps = doc.Steps
	return c, c.validate(doc)
}

func problem(file string, err error) manifest.Problem {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		p := at.GetToken().Position
		return manifest.Problem{File: file, Line: p.Line, Column: p.Column, Message: at.GetMessage()}
	}
	return manifest.Problem{File: file, Message: err.Error()}
}

// validate finds what decoding cannot.
func (c *Check) validate(doc document) error {
	var problems manifest.Problems
	fail := func(format string, args ...any) {
		problems = append(problems, manifest.Problem{File: c.File, Message: fmt.Sprintf(format, args...)})
	}
	if doc.Version != 1 {
		fail("version is %d; this mesh knows 1", doc.Version)
	}
	if len(c.Steps) == 0 {
		fail("has no steps")
	}
	for i := range c.Steps {
		s := &c.Steps[i]
		if s.Name == "" {
			s.Name = fmt.Sprintf("step %d", i+1)
		}
		if !strings.HasPrefix(s.Request.Path, "/") {
			fail("%s: request.path is %q; it starts with /", s.Name, s.Request.Path)
		}
		if s.Request.JSON != nil && s.Request.Body != "" {
			fail("%s: a request has json or body, not both", s.Name)
		}
		if s.Expect.Status == 0 {
			s.Expect.Status = 200
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}
