package adopt

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ebef7166/mesh/internal/lazyregexp"
	"github.com/ebef7166/mesh/manifest"
)

var (
	processLine = lazyregexp.New(`^([A-Za-z0-9_-]+):\s*(\S.*)$`)
	portUse     = lazyregexp.New(`\$PORT\b|\$\{PORT(:-[^}$]*)?\}`)
)

// Procfile reads a Procfile for a workspace in dir. name is how messages call it.
func Procfile(dir, file, name string) (*Result, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &Result{Name: workspaceName(dir), Services: map[string]*manifest.Service{}, from: []string{name}}
	release := ""
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := manifest.Problem{File: name, Line: n, Column: 1}
		m := processLine().FindStringSubmatch(line)
		if m == nil {
			at.Message = fmt.Sprintf("%q is no process: a line is NAME: COMMAND", line)
			r.note(at)
			continue
		}
		called := r.add(m[1], usable(m[1]), process(m[1], m[2], below(dir, filepath.Dir(file))), at)
		if m[1] == "release" {
			release = called
		}
	}
	r.afterRelease(release)
	return r, lines.Err()
}

// process is one line: release runs to its end before the others start, web and
// what mentions PORT listens, everything else is a worker.
func process(name, command, dir string) *manifest.Service {
	s := &manifest.Service{Run: manifest.Command{Shell: shellLine(command)}}
	if dir != "." {
		s.Dir = dir
	}
	switch {
	case name == "release":
		s.Kind = manifest.KindTask
	case name == "web":
		s.Routes = []manifest.Route{{Prefix: "/", Auth: manifest.AuthNone}}
	case !portUse().MatchString(command):
		s.Kind = manifest.KindWorker
	}
	return s
}

// shellLine writes a shell's command so that mesh expands PORT and nothing else.
func shellLine(command string) string {
	var out strings.Builder
	last := 0
	literal := func(text string) {
		out.WriteString(strings.ReplaceAll(strings.ReplaceAll(text, "$$", "$$$$"), "${", "$${"))
	}
	for _, at := range portUse().FindAllStringSubmatchIndex(command, -1) {
		literal(command[last:at[0]])
		out.WriteString("${PORT")
		if at[2] >= 0 {
			out.WriteString(command[at[2]:at[3]])
		}
		out.WriteString("}")
		last = at[1]
	}
	literal(command[last:])
	return out.String()
}

// afterRelease makes everything wait for the release.
func (r *Result) afterRelease(release string) {
	for name, s := range r.Services {
		if release != "" && name != release {
			s.DependsOn = manifest.Dependencies{release: manifest.Completed}
		}
	}
}
