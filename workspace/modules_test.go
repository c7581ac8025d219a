package workspace

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ebef7166/mesh/internal/gomod"
)

func TestEmbedded(t *testing.T) {
	m := &gomod.Module{Dir: t.TempDir()}
	for name, text := range map[string]string{
		"db/db.go":    "package db\n\nimport _ \"embed\"\n\n//go:embed x.sql \"migrations/*.sql\"\nvar x string\n",
		"web/web.go":  "package web\n\nimport \"embed\"\n\n//go:embed all:static\nvar x embed.FS\n",
		"plain/p.go":  "package plain\n",
		"broken/b.go": "package\n",
	} {
		path := filepath.Join(m.Dir, filepath.FromSlash(name))
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{
		"db/x.sql": true, "db/y.sql": false, "db/migrations/1.sql": true, "db/migrations/1.txt": false,
		"web/static/js/app.js": true, "web/other": false, "plain/x.sql": false, "broken/x.sql": false, "x.sql": false,
	} {
		if got := embedded(m.Dir, filepath.Join(m.Dir, filepath.FromSlash(name))); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
