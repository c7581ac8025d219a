//go:build unix

package devidentity

import (
	"fmt"
	"os"
)

// ownersOnly refuses a key file that others may read: whoever read it could
// sign tokens ever since.
func ownersOnly(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("identity: reading keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("identity: %s has mode %04o and may have been read by others: remove it, and a new key is made", file, info.Mode().Perm())
	}
	return nil
}
