package scaffold

// Lock locks nothing on this system.
func Lock(string) (unlock func(), err error) { return func() {}, nil }
