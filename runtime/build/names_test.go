package build

import (
	"path/filepath"
	"testing"

	"github.com/ebef7166/mesh/manifest"
)

// module writes a module whose root is a program that prints what it is.
func (r *rig) module(dir, path, says string) *manifest.Service {
	r.write(filepath.Join(dir, "go.mod"), "module "+path+"\ngo 1.26\n")
	r.write(filepath.Join(dir, "main.go"), "package main\nfunc main() { println(\""+says+"\") }\n")
	return &manifest.Service{Name: says, Dir: dir, Go: "."}
}

// TestProgramsOfModuleRoots: go build names them by the module's path, and not by the
// folder that they are in.
func TestProgramsOfModuleRoots(t *testing.T) {
	r := newRig(t)
	at := func(name string) string { return filepath.Join(r.Dir, "services", name) }
	api, web := r.module(at("api"), "example.test/web", "api"), r.module(at("web"), "example.test/api", "web")
	shop, alone := r.module(at("shop"), "example.test/shop/v2", "shop"), r.module(filepath.Join(r.Dir, "alone"), "example.test/other", "alone")
	second := r.module(at("second"), "example.test/x/api", "second")
	r.write(filepath.Join(r.Dir, "go.work"), "go 1.26\nuse (\n\t./services/api\n\t./services/web\n\t./services/shop\n\t./services/second\n)\n")
	said, _ := r.build(t.Context(), api, web, shop, alone, second)
	r.want(said, map[string]string{"api": "api", "web": "web", "shop": "shop", "alone": "alone", "second": "second"})
}

// TestAGoWorkAboveTheWorkspace is what the go command builds by, too.
func TestAGoWorkAboveTheWorkspace(t *testing.T) {
	r := newRig(t)
	above := t.TempDir()
	r.write(filepath.Join(above, "go.work"), "go 1.26\nuse (\n\t./ws/svc\n\t./lib\n)\n")
	r.write(filepath.Join(above, "lib", "go.mod"), "module example.test/lib\ngo 1.26\n")
	r.write(filepath.Join(above, "lib", "lib.go"), "package lib\nconst Text = \"lib\"\n")
	svc := r.module(filepath.Join(above, "ws", "svc"), "example.test/svc", "svc")
	r.write(filepath.Join(svc.Dir, "main.go"), "package main\nimport \"example.test/lib\"\nfunc main() { println(\"svc\", lib.Text) }\n")
	stranger := r.module(filepath.Join(above, "ws", "stranger"), "example.test/stranger", "stranger")
	r.Dir = filepath.Join(above, "ws")
	said, versions := r.build(t.Context(), svc, stranger)
	r.want(said, map[string]string{"svc": "svc lib", "stranger": "stranger"})
	r.write(filepath.Join(above, "lib", "lib.go"), "package lib\nconst Text = \"new lib\"\n")
	said, after := r.build(t.Context(), svc)
	r.want(said, map[string]string{"svc": "svc new lib"})
	if after["svc"] == versions["svc"] {
		t.Error("a change of the other module makes no version")
	}
}
