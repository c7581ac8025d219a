//go:build !linux

package control

import (
	"context"
	"fmt"
	"net"
	"os"
)

// maxSocketPath is what sun_path holds on macOS and the BSDs, with its NUL.
const maxSocketPath = 103

func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path of the control socket is too long for this system (%d bytes, at most %d): %s; move the workspace to a shorter path", len(path), maxSocketPath, path)
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "unix", path) // its folder is 0700
	if err != nil {
		return nil, err
	}
	return ln, os.Chmod(path, 0o600)
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// peerPID is the process at the other end of a connection: it is not known here.
func peerPID(net.Conn) int { return 0 }
