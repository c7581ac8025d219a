package devgateway

import (
	"context"
	"sync"
)

// life is the context of a request that is under way. It ends with its client's, or
// when somebody ends it before.
//
// It does what context.WithCancel and context.AfterFunc do; theirs are a dozen
// allocations for each request, and this is a part of its exchange.
type life struct {
	context.Context             // the client's
	conn            *strictConn // that tells of its client's end; nil: stop is set
	stop            func() bool

	mu    sync.Mutex
	err   error
	done  chan struct{} // nil until somebody asks for it
	atEnd func()        // nil: nobody waits
}

// begin links l to its client. It is called once, before all else.
func (l *life) begin(client context.Context) {
	l.Context = client
	if l.conn = alone(client); l.conn != nil {
		l.conn.request.Store(l)
		return
	}
	l.stop = context.AfterFunc(client, func() { l.end(client.Err()) })
}

// finish ends l and all that it is linked to.
func (l *life) finish() {
	if l.conn != nil {
		l.conn.request.Store(nil)
	} else {
		l.stop()
	}
	l.end(context.Canceled)
}

// Err implements context.Context.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Done implements context.Context.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		if l.done = make(chan struct{}); l.err != nil {
			close(l.done)
		}
	}
	return l.done
}

// end ends l, unless it has ended.
func (l *life) end(err error) {
	l.mu.Lock()
	atEnd := l.atEnd
	if l.atEnd = nil; l.err == nil {
		l.err = err
		if l.done != nil {
			close(l.done)
		}
	}
	l.mu.Unlock()
	if atEnd != nil {
		atEnd()
	}
}

// onEnd has f called when l ends, or now where it has. There is one f at a time.
func (l *life) onEnd(f func()) {
	l.mu.Lock()
	ended := l.err != nil
	if !ended {
		l.atEnd = f
	}
	l.mu.Unlock()
	if ended {
		f()
	}
}

// goesOn says whether l has not ended, and calls the f of onEnd no more.
func (l *life) goesOn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.atEnd = nil
	return l.err == nil
}
