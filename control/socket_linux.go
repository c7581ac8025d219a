package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what sun_path holds (unix(7)), with its NUL.
const maxSocketPath = 107

// short gives a path that a socket address can hold: a longer one is reached
// through the folder's descriptor. Call done when the address is not needed any
// more.
func short(path string) (address string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), func() { dir.Close() }, nil
}

func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	address, done, err := short(path)
	if err != nil {
		return nil, err
	}
	defer done()
	// Nobody but us may connect, not even between bind and chmod.
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // the daemon removes it by its own path
	return &sameUser{Listener: ln, path: path}, nil
}

// sameUser accepts connections of this user alone (SO_PEERCRED, unix(7)).
type sameUser struct {
	net.Listener
	path string
}

func (l *sameUser) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peerIsUs(conn) {
			return conn, nil
		}
		conn.Close()
	}
}

func peerIsUs(conn net.Conn) bool {
	peer := peerOf(conn)
	return peer != nil && int(peer.Uid) == os.Getuid()
}

// peerPID is the process at the other end of a connection, 0 where that is not known.
func peerPID(conn net.Conn) int {
	peer := peerOf(conn)
	if peer == nil {
		return 0
	}
	return int(peer.Pid)
}

// peerOf is who is at the other end: who connected, or who listens. nil: it is not
// known.
func peerOf(conn net.Conn) *unix.Ucred {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil
	}
	var peer *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || failed != nil {
		return nil
	}
	return peer
}

// Close also removes the socket.
func (l *sameUser) Close() error {
	err := l.Listener.Close()
	_ = os.Remove(l.path) // a stale one is removed by the next daemon
	return err
}

// dial refuses what the daemon would refuse, which closes a stranger's connection
// without a word: it would look as if the daemon had ended.
func dial(ctx context.Context, path string) (net.Conn, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Getuid() {
		return nil, os.ErrPermission
	}
	address, done, err := short(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	return d.DialContext(ctx, "unix", address)
}
