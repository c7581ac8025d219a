package watch

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// gitignores are the .gitignore files below a folder (gitignore(5)); those above
// it do not count, since they may leave out the folder itself.
type gitignores struct {
	files   map[string][]gitignore.Pattern // by the folder that they lie in, split
	matcher gitignore.Matcher
}

const gitignoreFile = ".gitignore"

// read takes in the file of a folder, which is given by its path below the root;
// none there means that none counts any more.
func (g *gitignores) read(root, rel string) {
	data, _ := os.ReadFile(filepath.Join(root, rel, gitignoreFile))
	domain := components(rel)
	var patterns []gitignore.Pattern
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, gitignore.ParsePattern(line, domain))
		}
	}
	if len(patterns) == 0 && g.files[rel] == nil {
		return
	}
	if g.files == nil {
		g.files = map[string][]gitignore.Pattern{}
	}
	g.files[rel] = patterns
	g.compile()
}

// compile puts the patterns in git's order: a deeper file decides over one above.
func (g *gitignores) compile() {
	var folders []string
	for rel := range g.files {
		folders = append(folders, rel)
	}
	slices.SortFunc(folders, func(a, b string) int { return len(components(a)) - len(components(b)) })
	var all []gitignore.Pattern
	for _, rel := range folders {
		all = append(all, g.files[rel]...)
	}
	g.matcher = gitignore.NewMatcher(all)
}

func (g *gitignores) match(rel string, dir bool) bool {
	return g.matcher != nil && g.matcher.Match(components(rel), dir)
}

func components(rel string) []string {
	if rel == "." {
		return nil
	}
	return strings.Split(filepath.ToSlash(rel), "/")
}
