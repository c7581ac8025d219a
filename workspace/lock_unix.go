//go:build unix

package workspace

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock takes the state folder for this process alone, until it ends: two that
// start at the same moment are told apart here. The system gives the lock up
// however the process ends.
func (s *State) Lock() error {
	f, err := ownFile(s.Path("run", "lock"), os.O_RDWR)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return ErrLocked
		}
		return err
	}
	s.lock = f
	return nil
}

// Alive reports whether a daemon has this state folder.
func Alive(state string) bool {
	f, err := os.Open((&State{Dir: state}).Path("run", "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
