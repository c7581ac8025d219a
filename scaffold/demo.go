package scaffold

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/templates"
)

// shop is the example's workspace.
var shop = Workspace{Name: "shop", Module: "example.com/shop"}

// shopOptions are the options that the example's services were made with.
// Each is generated as any other and then gets what a team would have written:
// the files of templates/shop/services, laid over it.
func shopOptions() []ServiceOptions {
	return []ServiceOptions{
		{Name: "profile", Publishes: []string{"profile.deleted"}},
		{Name: "cart", Calls: []string{"profile"}, Publishes: []string{"cart.checked_out"},
			Consumes: []string{"billing.declined", "billing.paid", "profile.deleted"}},
		{Name: "billing", Publishes: []string{"billing.declined", "billing.paid"}, Consumes: []string{"cart.checked_out"}},
		{Name: "notifications", Consumes: []string{"billing.declined", "billing.paid", "profile.deleted"}},
	}
}

// Demo writes the example workspace shop into dir. Where something of it is in
// the way it writes nothing and returns a *ConflictError.
func Demo(ctx context.Context, dir string) error {
	files, err := shopFiles(ctx)
	if err != nil {
		return err
	}
	return Write(dir, files)
}

// shopFiles returns all files of the example.
func shopFiles(ctx context.Context) ([]File, error) {
	files, err := shopWorkspace()
	if err != nil {
		return nil, err
	}
	sources := map[string]string{}
	uses := []string{"./contracts"}
	ws := shop
	if ws.contracts, err = shopContracts(); err != nil {
		return nil, err
	}
	for _, opts := range shopOptions() {
		more, contract, err := serviceFiles(ws, opts, "shop/services/"+opts.Name)
		if err != nil {
			return nil, err
		}
		for _, f := range contract {
			sources[strings.TrimPrefix(f.Path, "contracts/")] = string(f.Data)
		}
		files = slices.Concat(files, more, contract)
		uses = append(uses, "./services/"+opts.Name)
	}
	seed, err := seedFiles()
	if err != nil {
		return nil, err
	}
	code, err := shopCode(ctx, sources)
	if err != nil {
		return nil, err
	}
	return finishShop(slices.Concat(files, seed, code), append(uses, "./services/seed"))
}

// shopWorkspace returns what lies at the root of the example.
func shopWorkspace() ([]File, error) {
	versions, err := loadVersions()
	if err != nil {
		return nil, err
	}
	var files []File
	for _, name := range []string{"workspace", "shop/workspace"} {
		t, err := subTree(templates.FS, name)
		if err != nil {
			return nil, err
		}
		more, err := render(t, struct{ Name, Module, Go string }{shop.Name, shop.Module, versions.Go})
		if err != nil {
			return nil, err
		}
		files = overlay(files, more)
	}
	return files, nil
}

// shopContracts returns the text of each service's contract.
func shopContracts() (map[string]string, error) {
	out := map[string]string{}
	for _, opts := range shopOptions() {
		data, err := fs.ReadFile(templates.FS, "shop/services/"+opts.Name+"/contract.proto.tmpl")
		if err != nil {
			return nil, err
		}
		out[opts.Name] = string(data)
	}
	return out, nil
}

// seedFiles returns the example's task, which no template makes.
func seedFiles() ([]File, error) {
	t, err := subTree(templates.FS, "shop/services/seed")
	if err != nil {
		return nil, err
	}
	s := service{Name: "seed", Module: shop.Module + "/services/seed", Contracts: shop.Module + "/contracts"}
	files, err := verbatim(t)
	if err != nil {
		return nil, err
	}
	files, err = addModule(files, s)
	return under("services/seed", files), err
}

// shopCode returns the code generated from the example's contracts, and their
// module.
func shopCode(ctx context.Context, sources map[string]string) ([]File, error) {
	var names []string
	for name := range sources {
		names = append(names, name)
	}
	slices.Sort(names)
	code, err := compile(ctx, sources, names, shop.Module+"/contracts")
	if err != nil {
		return nil, err
	}
	mod, sum, err := moduleFiles(shop.Module+"/contracts", "", contractImports)
	return append(code, File{Path: "contracts/go.mod", Data: mod}, File{Path: "contracts/go.sum", Data: sum}), err
}

// finishShop puts every module into go.work.
func finishShop(files []File, uses []string) ([]File, error) {
	i := slices.IndexFunc(files, func(f File) bool { return f.Path == "go.work" })
	data, err := workWith(files[i].Data, uses)
	files[i].Data = data
	return files, err
}
