// Package processtest gives tests of other packages a process driver.
package processtest

import (
	"context"
	"testing"

	"github.com/ebef7166/mesh/runtime/process"
)

// Driver is one that runs until the test ends, with a state folder of its own.
func Driver(t *testing.T) *process.Driver {
	t.Helper()
	d := process.NewDriver(t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}
