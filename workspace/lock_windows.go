package workspace

// Lock does nothing on this system: the control socket tells daemons apart.
func (s *State) Lock() error { return nil }

// Alive cannot be told on this system: whatever there is stays.
func Alive(string) bool { return true }
