package devbroker

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats-server/v2/server"
)

// serverLog takes what the server logs. Its notices are many and about
// itself; they are for debugging.
type serverLog struct {
	log         *slog.Logger
	storeFailed atomic.Bool // a stream could not be written since this was last reset
	fatal       atomic.Bool // the server has given up

	mu   sync.Mutex
	last string
}

var _ server.Logger = (*serverLog)(nil)

// Noticef implements server.Logger.
func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("broker: " + fmt.Sprintf(format, v...))
}

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) {
	if strings.Contains(format, "Plaintext passwords") {
		return // they are made by mesh, for this machine alone, and kept at 0600
	}
	l.log.Warn("broker: " + fmt.Sprintf(format, v...))
}

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if strings.Contains(text, "failed to store a msg") {
		l.storeFailed.Store(true)
	}
	l.failed(text)
}

// Fatalf implements server.Logger. It does not exit: Start reports it.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.failed(fmt.Sprintf(format, v...))
	l.fatal.Store(true)
}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) failed(text string) {
	l.log.Error("broker: " + text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = text
}

func (l *serverLog) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
