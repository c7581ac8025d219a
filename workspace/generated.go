package workspace

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebef7166/mesh/internal/gomod"
	"github.com/ebef7166/mesh/internal/lazyregexp"
)

// databaseFile is what SQLite's files are usually called, with those that it keeps
// beside them (https://sqlite.org/tempfiles.html).
var databaseFile = lazyregexp.New(`\.(db3?|sqlite3?|s3db)(-wal|-shm|-journal|-mj[0-9A-F]+)?$`)

// outputs are the folders that tools write, by their names: the files that tell of such
// a tool. Without one beside it a folder of that name is as any other.
func outputs(name string) []string {
	switch name {
	case "target":
		return []string{"Cargo.toml", "pom.xml", "build.sbt"}
	case "dist":
		return []string{"package.json", "pyproject.toml", "setup.py"}
	case "bin", "obj":
		return []string{"*.csproj", "*.fsproj"}
	}
	return nil
}

// generated reports a folder that a tool writes, unless a Go package takes it in.
func generated(dir string) bool {
	written := slices.ContainsFunc(outputs(filepath.Base(dir)), func(pattern string) bool {
		beside, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), pattern))
		return len(beside) > 0
	})
	if !written {
		return false
	}
	module := gomod.Root(filepath.Dir(dir))
	return module == "" || !embedded(module, filepath.Join(dir, "file"))
}

// compiled reports a file that is a program and no text, or nothing: one that is being
// written.
func compiled(path string) bool {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() { // to open a pipe may take for ever
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false // gone, or not ours to see
	}
	defer f.Close()
	begin := make([]byte, 512)
	n, _ := io.ReadFull(f, begin)
	return n == 0 || bytes.IndexByte(begin[:n], 0) >= 0
}
