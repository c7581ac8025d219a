package workspace

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/container"
)

// recipe is what a Dockerfile takes from the workspace.
type recipe struct {
	copied  []string               // slashed, relative to the workspace; "." is all of it
	leftOut func(path string) bool // by .dockerignore
}

// recipesOf are those of the services that are built by a Dockerfile.
func recipesOf(dir string, services []*manifest.Service) map[string]recipe {
	recipes := map[string]recipe{}
	for _, s := range services {
		if s.Container() && s.Dockerfile != "" {
			text, _ := os.ReadFile(filepath.Join(s.Dir, s.Dockerfile)) // what is wrong with it, its build says
			recipes[s.Name] = recipe{copySources(string(text)), container.LeftOut(s, dir)}
		}
	}
	return recipes
}

// takes reports that the recipe is made with a file of the workspace, which may lie in
// the folder of others. All of the workspace is not taken to be the folders of others:
// each save there would make every image anew.
func (r recipe) takes(file string, others bool) bool {
	named := slices.ContainsFunc(r.copied, func(source string) bool {
		return source == "." && !others || source != "." && covers(source, file)
	})
	return named && !r.leftOut(file) || file == ".dockerignore" && r.leftOut != nil
}

// copySources are what COPY and ADD of a Dockerfile take from the context, slashed;
// "." is all of it, and what a variable names may be anything.
func copySources(dockerfile string) (sources []string) {
	for line := range strings.Lines(strings.ReplaceAll(dockerfile, "\\\n", " ")) {
		words := strings.Fields(line)
		if len(words) == 0 || !slices.Contains([]string{"COPY", "ADD"}, strings.ToUpper(words[0])) {
			continue
		}
		for _, source := range copyArguments(words[1:]) {
			if strings.Contains(source, "$") {
				source = "."
			}
			if !strings.Contains(source, "://") && !strings.HasPrefix(source, "<<") {
				sources = append(sources, path.Clean(strings.TrimLeft(source, "/")))
			}
		}
	}
	return sources
}

// copyArguments are the sources among the words behind COPY: not what comes from
// another stage.
func copyArguments(words []string) []string {
	for len(words) > 0 && strings.HasPrefix(words[0], "--") {
		if strings.HasPrefix(words[0], "--from=") {
			return nil
		}
		words = words[1:]
	}
	var list []string
	if json.Unmarshal([]byte(strings.Join(words, " ")), &list) == nil {
		words = list
	}
	return words[:max(len(words)-1, 0)]
}

// covers reports that a pattern of path.Match names a file, or a folder that it lies in.
func covers(pattern, file string) bool {
	for ; file != "."; file = path.Dir(file) {
		if ok, err := path.Match(pattern, file); err == nil && ok {
			return true
		}
	}
	return false
}
