package runtime

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/ebef7166/mesh/runtime/process"
)

// elsewhere is the driver of services that somebody else runs. It starts nothing
// and stops nothing: what is left of an instance is its probe, which says when it
// may be sent requests. A probe by command is a process here.
type elsewhere struct{ Driver }

// Start implements Driver.
func (elsewhere) Start(context.Context, Launch) (Running, error) {
	return &outside{done: make(chan struct{})}, nil
}

// outside is an instance that somebody else runs, as long as it is wanted here.
type outside struct {
	once sync.Once
	done chan struct{}
}

func (*outside) PID() int                { return 0 }
func (o *outside) Done() <-chan struct{} { return o.done }
func (*outside) Exit() process.Exit      { return process.Exit{} }

func (o *outside) Stop(context.Context, syscall.Signal, time.Duration) {
	o.once.Do(func() { close(o.done) })
}
