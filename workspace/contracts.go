package workspace

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// isContract reports that a path is a contract, or was one.
func (w *Workspace) isContract(path string) bool {
	return filepath.Ext(path) == ".proto" && below(path, filepath.Join(w.Manifest().Dir, "contracts"))
}

// generate brings the code up to date with contracts that were saved. What it writes is
// seen as any save is. Contracts with a mistake change nothing but what is said of them.
func (w *Workspace) generate(ctx context.Context) {
	if w.options.Generate == nil {
		return
	}
	err := w.options.Generate(ctx, w.Manifest().Dir)
	if err == nil {
		w.contracts.Store(nil)
		return
	}
	lines := strings.Split(err.Error(), "\n")
	for _, line := range lines {
		w.log.Error("no code is made of the contracts: " + line)
	}
	text := "no code is made of the contracts: " + lines[0]
	if more := len(lines) - 1; more > 0 {
		text += fmt.Sprintf("; and %d more in mesh logs %s", more, OwnLog)
	}
	w.contracts.Store(&text)
}
