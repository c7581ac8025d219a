package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	psnet "github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
)

// BusyError says that an address is taken, and by whom where that can be seen.
type BusyError struct {
	Address string
	Service string // whose fixed port it is; "" where it is the gateway's address
	Holder  string // "nginx (pid 812)", or "" when it cannot be seen
}

func (e *BusyError) Error() string {
	if e.Holder == "" {
		return e.Address + " is in use by another program"
	}
	return e.Address + " is in use by " + e.Holder
}

// Free reports whether an address can be listened on; the error says who has it.
func Free(ctx context.Context, address string) error {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return busy(ctx, address, err)
	}
	return ln.Close()
}

// busy turns a failure to listen into a BusyError where that is the reason.
func busy(ctx context.Context, address string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	return &BusyError{Address: address, Holder: holder(ctx, address)}
}

func holder(ctx context.Context, address string) string {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return ""
	}
	connections, err := psnet.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return ""
	}
	for _, c := range connections {
		if c.Status == "LISTEN" && c.Laddr.Port == uint32(port) && c.Pid != 0 {
			return describe(ctx, c.Pid)
		}
	}
	return ""
}

func describe(ctx context.Context, pid int32) string {
	p, err := process.NewProcessWithContext(ctx, pid)
	if err != nil {
		return fmt.Sprintf("pid %d", pid)
	}
	name, err := p.NameWithContext(ctx)
	if err != nil {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("%s (pid %d)", name, pid)
}
