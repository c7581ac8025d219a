package devidentity

// ownersOnly has nothing to look at: Windows keeps no Unix modes, and the
// workspace's folder inherits its owner's access list.
func ownersOnly(string) error { return nil }
