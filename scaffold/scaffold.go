// Package scaffold writes workspaces and services from templates, and Go code
// from contracts.
//
// NewWorkspace and NewService are pure: they return files and write nothing.
// Write finds every conflict before it writes the first of them.
package scaffold

import (
	"fmt"
	"slices"
	"strings"
)

// File is one file to be written, by its slash-separated path inside the
// workspace.
type File struct {
	Path string
	Data []byte
	// Old, when not nil, is what the file must hold now: it is replaced. A file
	// without Old must not exist yet, or hold Data already.
	Old []byte
}

// Template describes a kind of service that NewService can write.
type Template struct {
	Name        string `json:"name" yaml:"name"`
	Description string `json:"description" yaml:"description"`
	Database    string `json:"database" yaml:"database"` // what it has unless asked otherwise
}

// Templates lists the built-in templates, the default first.
func Templates() []Template {
	return []Template{
		{"connect", "RPC over Connect, gRPC, gRPC-Web and JSON, with a Protobuf contract", "sqlite"},
		{"http", "net/http with JSON, no Protobuf", "none"},
		{"worker", "reacts to events, without a port", "sqlite"},
	}
}

func findTemplate(name string) (Template, error) {
	var known []string
	for _, t := range Templates() {
		if t.Name == name {
			return t, nil
		}
		known = append(known, t.Name)
	}
	return Template{}, fmt.Errorf("there is no template %q (there are %s)", name, strings.Join(known, ", "))
}

// Workspace is where a service goes.
type Workspace struct {
	Dir    string // its folder
	Name   string // its name
	Module string // the prefix of its modules' paths; example.com/NAME unless given

	contracts map[string]string // by service, instead of those in Dir
}

func (ws Workspace) module() string {
	if ws.Module != "" {
		return ws.Module
	}
	return "example.com/" + ws.Name
}

// ServiceOptions are the answers that make a service.
type ServiceOptions struct {
	Name      string
	Template  string // connect unless given
	Database  string // sqlite, postgres or none; the template's own choice unless given
	Calls     []string
	Publishes []string // events of this service: NAME.EVENT, or EVENT alone
	Consumes  []string // events of others: SERVICE.EVENT
	From      string   // the folder of a template of one's own
	Set       map[string]string
}

// sorted returns a sorted copy of names without repetitions and empty ones.
func sorted(names []string) []string {
	out := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return strings.TrimSpace(s) == "" })
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	slices.Sort(out)
	return slices.Compact(out)
}
