package walk

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestALinkIsGoneInto(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.MkdirAll(filepath.Join(real, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(real, "sub", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for at, to := range map[string]string{link: real, filepath.Join(real, "round"): real} {
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range []string{real, link} {
		var seen []string
		err := Dir(root, func(path string, _ fs.DirEntry, err error) error {
			seen = append(seen, path)
			return err
		})
		want := []string{root, filepath.Join(root, "round"), filepath.Join(root, "sub"), filepath.Join(root, "sub", "file")}
		if err != nil || !slices.Equal(seen, want) {
			t.Errorf("%s: %v %v", root, seen, err)
		}
	}
	if err := Dir(filepath.Join(dir, "none"), func(_ string, _ fs.DirEntry, err error) error { return err }); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
