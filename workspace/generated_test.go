package workspace

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/ebef7166/mesh/manifest"
)

// TestIgnored: what tools write does not count, and what people write does, whatever
// its folder is called.
func TestIgnored(t *testing.T) {
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(`
-- rust/Cargo.toml --
-- rust/target/debug/x --
-- node/package.json --
-- node/dist/index.js --
-- node/bin/www --
#!/usr/bin/env node
-- go/go.mod --
module example.com/go
-- go/main.go --
package main

import "embed"

//go:embed web/dist
var pages embed.FS
-- go/internal/target/t.go --
-- go/web/package.json --
-- go/web/dist/index.html --
-- go/web/lib/dist/index.js --
-- go/web/lib/package.json --
-- go/bin/empty --
-- net/app.csproj --
-- net/bin/Debug/app.dll --
`)).Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "go", "bin", "program"), []byte("\x7fELF\x02\x01\x01\x00\x00"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := &Workspace{manifest: &manifest.Workspace{Dir: dir}}
	for path, want := range map[string]bool{
		"rust/target": true, "node/dist": true, "node/bin": false, "node/bin/www": false, "go/internal/target": false, "go/web/dist": false,
		"go/web/lib/dist": true, "go/bin": false, "net/bin": true, "x/__pycache__": true, "x/.hidden": true, "x/dist": false,
	} {
		if got := w.ignored(filepath.Join(dir, filepath.FromSlash(path)), true); got != want {
			t.Errorf("folder %s: ignored %v", path, got)
		}
	}
	for path, want := range map[string]bool{
		"go/bin/program": true, "go/bin/empty": true, "go/users.db.go": false, "x/app.db": true, "x/app.db-wal": true, "x/db.sqlite3": true,
		"x/db.sqlite3-journal": true, "x/development.sqlite3-shm": true, "x/a.log": true, "x/a.pyc": true, "x/.env": false, "x/sqlite.go": false,
	} {
		if got := w.ignored(filepath.Join(dir, filepath.FromSlash(path)), false); got != want {
			t.Errorf("file %s: ignored %v", path, got)
		}
	}
}
