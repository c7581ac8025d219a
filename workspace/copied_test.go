package workspace

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ebef7166/mesh/manifest"
)

func TestCopySources(t *testing.T) {
	got := copySources(`FROM x AS y
# COPY not.this /
copy --chown=1:2 shared/txt ./lib/ /app/
COPY ["a b", "c*.go", "/to"]
COPY \
  one \
  two /to/
COPY --from=y /built /
ADD https://example.com/x /x
COPY ${WHAT} /what
COPY <<EOF /here
COPY
RUN cp a b
`)
	want := []string{"shared/txt", "lib", "a b", "c*.go", "one", "two", "."}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAffectedByWhatADockerfileCopies(t *testing.T) {
	services := []*manifest.Service{{Name: "img", Dir: "/w/services/img", Dockerfile: "Dockerfile"}, {Name: "all", Dir: "/w/services/all", Dockerfile: "Dockerfile"}, {Name: "py", Dir: "/w/services/py"}}
	ignored := func(path string) bool { return path == "shared/txt/out" || path == "services/img/notes" }
	from := sources{dir: "/w", recipes: map[string]recipe{"img": {[]string{"shared/txt", "services/py/*.lock"}, ignored}, "all": {[]string{"."}, ignored}}}
	for path, want := range map[string]string{
		"/w/shared/txt/a/b":         "all img",
		"/w/shared/other":           "all",
		"/w/services/py/x.lock":     "img py",
		"/w/services/py/app.py":     "py",
		"/w/services/img/x":         "img",
		"/w/services/img/notes":     "",
		"/w/shared/txt/out":         "",
		"/w/.dockerignore":          "all img",
		"/elsewhere/shared/txt/a/b": "",
	} {
		names := slices.Sorted(maps.Keys(affected(services, services, from, []string{path})))
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}
