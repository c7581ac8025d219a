package workspace

import "io/fs"

// ownedByUs trusts the access control list that the folder inherits.
func ownedByUs(fs.FileInfo) bool { return true }
