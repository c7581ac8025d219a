package scaffold

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Version is that of the templates; a service records which one made it.
const Version = 1

// Record is .template.yaml: what made a service, and what a later merge with a
// newer template needs.
type Record struct {
	Template string            `yaml:"template"`
	Version  int               `yaml:"version"`
	Answers  Answers           `yaml:"answers"`
	Files    map[string]string `yaml:"files"` // path to the hash of what was written
}

// Answers are the options that a service was made with.
type Answers struct {
	Database  string            `yaml:"database"`
	Calls     []string          `yaml:"calls,omitempty"`
	Publishes []string          `yaml:"publishes,omitempty"`
	Consumes  []string          `yaml:"consumes,omitempty"`
	Set       map[string]string `yaml:"set,omitempty"`
}

const recordHead = "# Written by mesh new, read by mesh upgrade: what this service was made from.\n"

// record returns .template.yaml of a service made of files.
func record(s service, opts ServiceOptions, files []File) File {
	r := Record{
		Template: orDefault(opts.From, s.Template), Version: Version, Files: map[string]string{},
		Answers: Answers{s.Database, sorted(opts.Calls), eventNames(s.Publishes), eventNames(s.Consumes), opts.Set},
	}
	for _, f := range files {
		r.Files[f.Path] = hash(f.Data)
	}
	data, err := yaml.Marshal(r)
	if err != nil {
		panic(err) // strings, numbers and maps of them can always be encoded
	}
	return File{Path: ".template.yaml", Data: append([]byte(recordHead), data...)}
}

func eventNames(events []event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Name)
	}
	return out
}

// hash is the first 128 bits of the SHA-256 of data with line ends made LF, so
// that a checkout on Windows is not taken for an edit.
func hash(data []byte) string {
	sum := sha256.Sum256([]byte(strings.ReplaceAll(string(data), "\r\n", "\n")))
	return hex.EncodeToString(slices.Clone(sum[:16]))
}
