// Package workspace composes mesh's parts into one running workspace: the
// built-ins, the supervisor, and what connects them. It is the only package
// that knows them all.
package workspace

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/ebef7166/mesh/internal/atomicfile"
)

// StateDir is where a workspace keeps what it must not commit.
const StateDir = ".mesh"

// ErrLocked says that another daemon has the state folder.
var ErrLocked = errors.New("mesh runs in this workspace already")

// State is the folder of one copy of a workspace: what it remembers from run to
// run.
type State struct {
	Dir string // absolute, 0700

	mu    sync.Mutex
	fixed map[int]bool // ports that the manifest fixes
	kept  kept
	dirty bool     // kept has something that the file has not
	lock  *os.File // held while it is open
}

// kept is what the state file holds.
type kept struct {
	Ports  map[string]int `json:"ports"`            // by what listens there
	Key    []byte         `json:"key"`              // of 256 bits, from which secrets are derived
	Subnet string         `json:"subnet,omitempty"` // of the containers' bridge
	Owner  string         `json:"owner,omitempty"`  // what databases on servers are called after
}

// OpenState makes the folder where needed and reads what it holds. A folder that
// belongs to somebody else, or a link, is refused, and so is one on a full disk.
func OpenState(dir string) (*State, error) {
	if err := checkRoom(dir, freeBytes); err != nil {
		return nil, err
	}
	for _, d := range []string{dir, filepath.Join(dir, "bin"), filepath.Join(dir, "data"), filepath.Join(dir, "logs"), filepath.Join(dir, "run")} {
		if err := privateDir(d); err != nil {
			return nil, err
		}
	}
	s := &State{Dir: dir, kept: kept{Ports: map[string]int{}}}
	if err := s.read(); err != nil {
		return nil, err
	}
	if len(s.kept.Key) < sha256.Size {
		s.kept.Key = make([]byte, sha256.Size)
		rand.Read(s.kept.Key) // never fails (crypto/rand)
		s.dirty = true
	}
	return s, s.Save()
}

// read reads what the state file holds; none is there before the first run.
func (s *State) read() error {
	data, err := os.ReadFile(s.file())
	if err == nil {
		err = json.Unmarshal(data, &s.kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w; delete it to start with new ports and secrets", s.file(), err)
	}
	return nil
}

func (s *State) file() string { return filepath.Join(s.Dir, "data", "state.json") }

// Path is a path below the folder.
func (s *State) Path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// Socket is the path of the control API's socket.
func (s *State) Socket() string { return Socket(s.Dir) }

// Socket is the path of the control API's socket below a state folder.
func Socket(dir string) string { return filepath.Join(dir, "run", "control.sock") }

// Log is the path of what the daemon below a state folder has to say.
func Log(dir string) string { return filepath.Join(dir, "run", "daemon.log") }

// OpenLog opens the log of the daemon below a state folder, to add to it.
func OpenLog(dir string) (*os.File, error) { return ownFile(Log(dir), os.O_APPEND|os.O_WRONLY) }

// ownFile opens a file of the state folder, or makes it. What else waits in its place
// is refused: a link would have mesh write elsewhere, a pipe would have it wait for a
// reader.
func ownFile(path string, flag int) (*os.File, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name := filepath.Base(path)
	info, err := root.Lstat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file of its own but %s; remove it", path, kindOf(info.Mode()))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return root.OpenFile(name, flag|os.O_CREATE, 0o600)
}

func privateDir(dir string) error {
	made := os.MkdirAll(dir, 0o700)
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return cmp.Or(made, err)
	case !info.IsDir():
		return fmt.Errorf("%s is no folder of its own but %s; remove it", dir, kindOf(info.Mode()))
	case made != nil:
		return made
	case !ownedByUs(info):
		return fmt.Errorf("%s belongs to another user; mesh keeps secrets there and does not use it", dir)
	}
	return os.Chmod(dir, 0o700)
}

// kindOf says what stands where a file or a folder was expected.
func kindOf(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a folder"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}

// Secret is the secret of name: 128 bits in letters and digits, the same from run
// to run.
func (s *State) Secret(name string) string {
	mac := hmac.New(sha256.New, s.kept.Key)
	mac.Write([]byte(name))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil)[:16])
}

// owner is the name that the workspace has, or had when it was first asked for one:
// what is called after it elsewhere is found again when the workspace has another.
func (s *State) owner(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept.Owner == "" {
		s.kept.Owner, s.dirty = name, true
	}
	return s.kept.Owner
}

// Save writes down what has changed since.
func (s *State) Save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	data, err := json.MarshalIndent(s.kept, "", "  ")
	if err == nil {
		err = atomicfile.Write(s.file(), data, 0o600)
	}
	s.dirty = err != nil
	return err
}
