package listening

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// at asks over a socket that is opened at the first question and is never closed: nil
// says that this kernel cannot be asked.
func at(addr netip.AddrPort) (listens, known bool) {
	if k := kernel(); k != nil {
		return k.listens(addr)
	}
	return false, false
}

var kernel = sync.OnceValue(func() *sockets {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil
	}
	k := &sockets{fd: fd}
	if !k.tell() {
		_ = unix.Close(fd) // nothing was written
		return nil
	}
	return k
})

// sockets are the kernel's, as sock_diag(7) tells of them.
type sockets struct {
	mu    sync.Mutex // held from a question to its answer
	fd    int
	asked uint32 // questions
}

// tell finds out whether the kernel tells of a socket that listens: without the module
// for it, it says of every one that there is none.
func (k *sockets) tell() bool {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return false
	}
	defer ln.Close()
	listens, known := k.listens(ln.Addr().(*net.TCPAddr).AddrPort())
	return listens && known
}

// question is inet_diag_req_v2 of linux/inet_diag.h behind its header, of one socket.
type question struct {
	unix.NlMsghdr
	family, protocol, extensions, _ uint8
	states                          uint32
	sourcePort, destinationPort     [2]byte
	source, destination             [16]byte
	device                          uint32
	cookie                          [2]uint32
}

const (
	tcpListen  = 10 // TCP_LISTEN of net/tcp_states.h
	anyCookie  = ^uint32(0)
	answerSize = 512 // bytes: more than inet_diag_msg, or an error with the question in it
)

// listens never waits: the kernel has answered when the question is sent.
func (k *sockets) listens(addr netip.AddrPort) (listens, known bool) {
	q := question{family: unix.AF_INET, protocol: unix.IPPROTO_TCP, states: 1 << tcpListen, cookie: [2]uint32{anyCookie, anyCookie}}
	q.Len, q.Type, q.Flags = uint32(unsafe.Sizeof(q)), unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_REQUEST
	binary.BigEndian.PutUint16(q.sourcePort[:], addr.Port())
	ip := addr.Addr().As4()
	copy(q.source[:], ip[:])
	var answer [answerSize]byte
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	q.Seq = k.asked
	if unix.Sendto(k.fd, unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q)), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return false, false
	}
	n, _, err := unix.Recvfrom(k.fd, answer[:], unix.MSG_DONTWAIT)
	if err != nil || n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint32(answer[8:]) != q.Seq { // nlmsg_seq
		return false, false
	}
	return read(answer[:n])
}

// read reads an answer: a socket, of which the state is the second byte, or the number
// of an error.
func read(answer []byte) (listens, known bool) {
	body := answer[unix.SizeofNlMsghdr:]
	switch binary.NativeEndian.Uint16(answer[4:]) { // nlmsg_type
	case unix.SOCK_DIAG_BY_FAMILY:
		return body[1] == tcpListen, true
	case unix.NLMSG_ERROR:
		return false, -int32(binary.NativeEndian.Uint32(body)) == int32(unix.ENOENT)
	}
	return false, false
}
