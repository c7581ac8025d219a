package adopt

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/scaffold"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestImport holds what is made of each archive: mesh.yaml and what is said. The
// manifest must be one that mesh takes, but for what the archive wants of it.
func TestImport(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "imported")
			inputs := unpack(t, dir, a)
			r, err := read(dir, inputs)
			if err != nil {
				t.Fatal(err)
			}
			files, err := r.Files()
			if err != nil {
				t.Fatal(err)
			}
			compare(t, path, a, "want mesh.yaml", string(files[0].Data))
			compare(t, path, a, "want notes", notes(r))
			if err := scaffold.Write(dir, files); err != nil {
				t.Fatal(err)
			}
			switch _, err := manifest.Load(dir); {
			case err == nil:
			case slices.ContainsFunc(a.Files, func(f txtar.File) bool { return f.Name == "want problems" }):
				compare(t, path, a, "want problems", err.Error()+"\n")
			default:
				t.Errorf("mesh does not take it:\n%v", err)
			}
		})
	}
}

// unpack writes the inputs of an archive and returns the names of those to import.
func unpack(t *testing.T, dir string, a *txtar.Archive) (inputs []string) {
	t.Helper()
	for _, f := range a.Files {
		if strings.HasPrefix(f.Name, "want ") {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(f.Name); base == "Procfile" || strings.Contains(base, "compose") {
			inputs = append(inputs, f.Name)
		}
	}
	return inputs
}

func read(dir string, inputs []string) (*Result, error) {
	paths := make([]string, len(inputs))
	for i, name := range inputs {
		paths[i] = filepath.Join(dir, filepath.FromSlash(name))
	}
	if strings.HasSuffix(inputs[0], "Procfile") {
		return Procfile(dir, paths[0], inputs[0])
	}
	return Compose(dir, paths, inputs)
}

func notes(r *Result) string {
	var out strings.Builder
	for _, n := range r.Notes {
		out.WriteString(n.String() + "\n")
	}
	return out.String()
}

func compare(t *testing.T, path string, a *txtar.Archive, name, got string) {
	t.Helper()
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
	if *update {
		if i < 0 {
			a.Files = append(a.Files, txtar.File{Name: name})
			i = len(a.Files) - 1
		}
		a.Files[i].Data = []byte(got)
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if i < 0 || string(a.Files[i].Data) != got {
		t.Errorf("%s is not as it should be (-update rewrites it); got:\n%s", name, got)
	}
}

// FuzzCompose holds that no file makes it panic, or make a manifest that cannot be
// written.
func FuzzCompose(f *testing.F) { fuzz(f, "compose.yaml") }

// FuzzProcfile holds the same of Procfiles.
func FuzzProcfile(f *testing.F) { fuzz(f, "Procfile") }

func fuzz(f *testing.F, name string) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range archives {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := read(dir, []string{name})
		if err != nil {
			return
		}
		if _, err := r.Files(); err != nil {
			t.Error(err)
		}
		for _, s := range r.names() {
			if !manifest.ValidName(s) {
				t.Errorf("%q is no name", s)
			}
		}
	})
}
