package container

// ownedBy knows no owners there.
func ownedBy(string, int) error { return nil }
