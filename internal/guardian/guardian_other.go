//go:build !linux

package guardian

import (
	"os"
	"syscall"
)

var stopSignal = os.Interrupt

func adopt() error { return nil }

func attributes() *syscall.SysProcAttr { return nil }

// prepare has nothing to prepare on this system.
func prepare() {}
