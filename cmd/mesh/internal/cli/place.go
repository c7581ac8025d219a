package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ebef7166/mesh/control"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/workspace"
)

// place is where a command works: a workspace and the copy of it that runs.
type place struct {
	dir   string // of the workspace, absolute
	state string // state folder
}

// place finds the workspace by walking up.
func (d *deps) place() (place, error) {
	settings, err := readSettings()
	if err != nil {
		return place{}, err
	}
	if err := d.folder(); err != nil {
		return place{}, err
	}
	dir, err := manifest.Find(d.dir)
	if err != nil {
		dir, err = orphan(d.dir, err)
	}
	if err != nil {
		return place{}, notFound(err, "mesh init DIR makes a workspace; mesh demo shows one")
	}
	p := place{dir: dir, state: filepath.Join(dir, workspace.StateDir)}
	if state := settings.GetString("state"); state != "" {
		return d.copyAt(p, state)
	}
	return p, nil
}

// copyAt is the copy of a workspace that MESH_STATE names. One of another workspace
// is not meant where -C says which one is.
func (d *deps) copyAt(p place, state string) (place, error) {
	state, err := filepath.Abs(state)
	if err != nil {
		return place{}, err
	}
	if rel, err := filepath.Rel(p.state, state); err == nil && filepath.IsLocal(rel) || sameFolder(p.state, filepath.Dir(state)) || sameFolder(p.state, filepath.Dir(filepath.Dir(state))) {
		p.state = state
		return p, nil
	}
	if d.dir != "." {
		return p, nil
	}
	return place{}, withNext(fmt.Errorf("MESH_STATE names %s, which is no copy of the workspace here, %s", state, p.dir), "unset MESH_STATE, or go to the workspace that it is of")
}

// sameFolder sees through symbolic links.
func sameFolder(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// folder holds that there is the folder that -C names: from one that there is not
// its parents' workspace would be taken.
func (d *deps) folder() error {
	if _, err := os.Stat(d.dir); errors.Is(err, os.ErrNotExist) {
		return notFound(fmt.Errorf("-C %s: no such folder", d.dir), "-C takes the workspace's folder, or one below it")
	}
	return nil
}

// orphan finds a mesh that still runs although its mesh.yaml is gone, so that it
// can be stopped; missing is the error where there is none.
func orphan(dir string, missing error) (string, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(workspace.Socket(filepath.Join(at, workspace.StateDir))); err == nil {
			return at, nil
		}
		if filepath.Dir(at) == at {
			return "", missing
		}
		at = filepath.Dir(at)
	}
}

func (p place) client() *control.Client { return control.NewClient(workspace.Socket(p.state)) }

// client is the client of the workspace that the command is in.
func (d *deps) client() (*control.Client, error) {
	p, err := d.place()
	if err != nil {
		return nil, err
	}
	return p.client(), nil
}

// explain gives an error of the control API its next step and exit code.
func explain(err error) error {
	var failed *control.Error
	var unknown *manifest.UnknownService
	var silent *control.Silent
	switch {
	case err == nil:
		return nil
	case errors.As(err, &silent):
		return withNext(err, wake(silent.PID))
	case errors.Is(err, control.ErrNotRunning):
		return notFound(err, "mesh up")
	case errors.Is(err, control.ErrOtherUser):
		return withNext(err, "run mesh as that user")
	case errors.As(err, &unknown):
		return notFound(err, "")
	case errors.As(err, &failed) && (failed.Code == control.CodeUnknown || failed.Code == control.CodeAbsent):
		return notFound(err, "")
	case errors.As(err, &failed) && failed.Code == control.CodeInvalid:
		return &failure{err: err, code: exitUsage}
	case strings.Contains(err.Error(), syscall.ENOSPC.Error()): // which crosses the API as text
		return withNext(err, "free some space on that disk, and try again")
	}
	return err
}

// wake says what can be done about a daemon that does not answer.
func wake(pid int) string {
	if pid == 0 {
		return "if its process was stopped, let it go on; ended by SIGKILL, it takes its services with it"
	}
	return fmt.Sprintf("kill -CONT %d lets it go on if somebody stopped it; kill -9 %[1]d ends it with its services", pid)
}

// load reads the manifests; what is wrong with them is exit code 2.
func (p place) load() (*manifest.Workspace, error) {
	m, err := manifest.Load(p.dir)
	var problems manifest.Problems
	if errors.As(err, &problems) {
		return nil, &failure{err: manifestError(problems), next: "mesh validate checks again", code: exitUsage}
	}
	return m, err
}

// workspace is the place that the command is in, with its manifests.
func (d *deps) workspace() (place, *manifest.Workspace, error) {
	p, err := d.place()
	if err != nil {
		return place{}, nil, err
	}
	m, err := p.load()
	return p, m, err
}

// service finds a service by its name.
func service(m *manifest.Workspace, name string) (*manifest.Service, error) {
	s, ok := m.Service(name)
	if !ok {
		return nil, explain(&manifest.UnknownService{Name: name, Known: m.Names()})
	}
	return s, nil
}

// manifestError says all that is wrong, one a line.
type manifestError manifest.Problems

func (e manifestError) Error() string {
	return "the manifests are not valid:\n" + manifest.Problems(e).Error()
}
