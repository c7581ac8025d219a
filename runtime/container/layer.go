package container

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Nobody is the user of a container where mesh itself runs as root.
const Nobody = 65532

// layer is a part of an image: a tar file that write makes, the same each time.
type layer struct {
	id    string // hex of the SHA-256 of the tar file
	size  int64
	write func(io.Writer) error
}

func newLayer(write func(io.Writer) error) (layer, error) {
	h, n := sha256.New(), &counter{}
	if err := write(io.MultiWriter(h, n)); err != nil {
		return layer{}, err
	}
	return layer{id: hex.EncodeToString(h.Sum(nil)), size: n.n, write: write}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// programs is the folder of programs in an image. A service may be called like any
// folder of a root, dev say.
const programs = "usr/local/bin"

// programLayer holds a program as /usr/local/bin/name.
func programLayer(name, file string) (layer, error) {
	return newLayer(func(w io.Writer) error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		t := tar.NewWriter(w)
		if err := t.WriteHeader(&tar.Header{Name: path.Join(programs, name), Mode: 0o555, Size: info.Size(), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := io.Copy(t, f); err != nil {
			return err
		}
		return t.Close()
	})
}

// baseLayer is below every program: what programs without a C library look for
// on a system. The time zones come from goroot; without it there are none.
func baseLayer(goroot string) (layer, error) {
	var data bytes.Buffer
	t := &tree{tar: tar.NewWriter(&data), made: map[string]bool{}}
	t.file("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
	t.file("etc/group", "root:x:0:\nnonroot:x:65532:\n")
	t.file("etc/nsswitch.conf", "hosts: files dns\n")
	if certificates := certificates(); certificates != "" {
		t.file("etc/ssl/certs/ca-certificates.crt", certificates)
	}
	t.zones(goroot)
	t.dir(programs, 0o755, 0)
	t.dir("tmp", 0o1777, 0)
	t.dir("home/nonroot", 0o700, Nobody)
	if t.err == nil {
		t.err = t.tar.Close()
	}
	if t.err != nil {
		return layer{}, t.err
	}
	return newLayer(func(w io.Writer) error { _, err := w.Write(data.Bytes()); return err })
}

// certificates are the authorities that this machine trusts, a company's own
// among them.
func certificates() string {
	for _, file := range []string{os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if data, err := os.ReadFile(file); file != "" && err == nil {
			return string(data)
		}
	}
	return ""
}

// tree writes files with the folders that they need; it stops at the first
// error.
type tree struct {
	tar  *tar.Writer
	made map[string]bool
	err  error
}

func (t *tree) file(name, text string) {
	t.parents(name)
	t.entry(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}, text)
}

func (t *tree) dir(name string, mode int64, owner int) {
	t.parents(name)
	t.made[name] = true
	t.entry(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, Uid: owner, Gid: owner}, "")
}

func (t *tree) parents(name string) {
	if parent := path.Dir(name); parent != "." && !t.made[parent] {
		t.dir(parent, 0o755, 0)
	}
}

func (t *tree) entry(h *tar.Header, text string) {
	h.ModTime, h.Format = time.Unix(0, 0), tar.FormatPAX
	if t.err == nil {
		t.err = t.tar.WriteHeader(h)
	}
	if t.err == nil {
		_, t.err = io.WriteString(t.tar, text)
	}
}

// zones are the time zones that come with Go.
func (t *tree) zones(goroot string) {
	archive, err := zip.OpenReader(filepath.Join(goroot, "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return // a Go without it; the program may carry its own
	}
	defer archive.Close()
	for _, f := range archive.File {
		if f.Mode().IsRegular() {
			t.zone(f)
		}
	}
}

func (t *tree) zone(f *zip.File) {
	r, err := f.Open()
	if err != nil {
		t.err = err
		return
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		t.err = err
		return
	}
	t.file("usr/share/zoneinfo/"+f.Name, string(data))
}
