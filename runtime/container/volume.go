package container

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// User is whom a service's containers run as: whoever runs mesh, or nobody in
// particular where that is root.
func User(s *manifest.Service) string {
	if s.User != "" {
		return s.User
	}
	uid, gid := os.Getuid(), os.Getgid()
	if uid <= 0 { // root, or a system without numbers
		uid, gid = Nobody, Nobody
	}
	return fmt.Sprintf("%d:%d", uid, gid)
}

// numbers of a user that is written as such.
func numbers(user string) (uid, gid int, ok bool) {
	first, second, both := strings.Cut(user, ":")
	uid, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0, false
	}
	if !both {
		return uid, uid, true
	}
	gid, err = strconv.Atoi(second)
	return uid, gid, err == nil
}

func (e *Engine) dataDir(s *manifest.Service) string {
	if s.Database == nil || s.Database.Engine != "sqlite" {
		return ""
	}
	return filepath.Join(e.owner.State, "data", s.Name)
}

// own gives a folder with all in it to the user of a container, which only root
// can; anybody else has to have it that way already.
func own(dir, user string) error {
	uid, gid, ok := numbers(user)
	if !ok || uid == 0 && os.Getuid() != 0 { // root of a container may write anywhere
		return nil
	}
	if os.Getuid() != 0 {
		return ownedBy(dir, uid)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(name, uid, gid)
	})
}

// mount makes a volume of the manifest ready.
func (e *Engine) mount(ctx context.Context, l runtime.Launch, v manifest.Volume) (mount.Mount, error) {
	m := mount.Mount{Type: mount.TypeBind, Target: v.Target, ReadOnly: v.ReadOnly}
	if !v.Named() {
		if m.Source = v.Source; !filepath.IsAbs(m.Source) {
			m.Source = filepath.Join(l.Service.Dir, m.Source)
		}
		if _, err := os.Stat(m.Source); err != nil {
			return m, fmt.Errorf("volumes: %w", err)
		}
		if e.reachesSocket(m.Source) {
			return m, fmt.Errorf("volumes: %s would give the container the engine's socket, and with it this machine: mesh does not mount it", m.Source)
		}
		return m, nil
	}
	m.Type, m.Source = mount.TypeVolume, e.owner.prefix()+"-"+l.Service.Name+"-"+v.Source
	_, err := e.api.VolumeInspect(ctx, m.Source, client.VolumeInspectOptions{})
	if missing(err) {
		err = e.makeVolume(ctx, l, m)
	}
	return m, err
}

// reachesSocket reports whether path is the engine's socket or a folder that
// holds it.
func (e *Engine) reachesSocket(path string) bool {
	sockets := []string{"/var/run/docker.sock", "/run/docker.sock"}
	if u, err := url.Parse(e.api.DaemonHost()); err == nil && u.Scheme == "unix" {
		sockets = append(sockets, u.Path)
	}
	real := resolve(path)
	for _, socket := range sockets {
		if rel, err := filepath.Rel(real, resolve(socket)); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}

func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// makeVolume makes a named volume that belongs to the user of the container: a
// new one would belong to root. A container that is never started lends its
// hand, since only the engine reaches into volumes.
func (e *Engine) makeVolume(ctx context.Context, l runtime.Launch, m mount.Mount) error {
	_, err := e.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: m.Source, Labels: e.owner.kept(l.Service.Name)})
	uid, gid, ok := numbers(User(l.Service))
	if err != nil || !ok || uid == 0 {
		return err
	}
	m.ReadOnly = false
	hand, err := e.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Config:     &container.Config{Image: l.Image, Cmd: []string{"-"}, Labels: e.owner.labels()},
		HostConfig: &container.HostConfig{NetworkMode: "none", Mounts: []mount.Mount{m}},
	})
	if err != nil {
		return err
	}
	defer e.discard(ctx, hand.ID, l.Service.Name)
	var data bytes.Buffer
	t := tar.NewWriter(&data)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path.Base(m.Target) + "/", Mode: 0o755, Uid: uid, Gid: gid}); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	_, err = e.api.CopyToContainer(ctx, hand.ID, client.CopyToContainerOptions{DestinationPath: path.Dir(m.Target), Content: &data})
	return err
}
