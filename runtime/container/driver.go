package container

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
)

// The engine's own copy of the output is for `docker logs`; mesh keeps its logs
// itself.
var engineLog = map[string]string{"max-size": "1m", "max-file": "1"}

// Start implements runtime.Driver.
func (e *Engine) Start(ctx context.Context, l runtime.Launch) (runtime.Running, error) {
	c, err := e.start(ctx, l)
	if missing(err) && strings.Contains(err.Error(), "network") {
		if err = e.restoreBridge(ctx); err == nil {
			c, err = e.start(ctx, l)
		}
	}
	if missing(err) && strings.Contains(err.Error(), "image") {
		return nil, fmt.Errorf("the engine has lost the image %s: mesh rebuild %s makes it again", l.Image, l.Service.Name)
	}
	if err != nil {
		return nil, e.explain(err)
	}
	return c, nil
}

func (e *Engine) start(ctx context.Context, l runtime.Launch) (*running, error) {
	if err := e.removeLeft(ctx, l.Service.Name); err != nil {
		return nil, err
	}
	options, err := e.options(ctx, l)
	if err != nil {
		return nil, err
	}
	created, err := e.api.ContainerCreate(ctx, options)
	if err != nil {
		return nil, err
	}
	c := &running{engine: e, id: created.ID, service: l.Service, stdout: l.Stdout, stderr: l.Stderr,
		exited: make(chan struct{}), done: make(chan struct{})}
	e.remember(l.Instance, c)
	inner := ""
	if l.Address != "" {
		inner = port(l.Env)
	}
	if err := c.begin(ctx, inner); err != nil {
		e.forget(c)
		e.discard(ctx, c.id, l.Service.Name)
		return nil, err
	}
	return c, nil
}

// discard removes a container that has ended, or did not start. Where the engine does
// not answer, it is left for later; what it will not remove, the next mesh tries again.
func (e *Engine) discard(ctx context.Context, id, service string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestPatience)
	defer cancel()
	if err := e.remove(ctx, id); gone(err) {
		e.left.add(id, service)
	}
}

func (e *Engine) options(ctx context.Context, l runtime.Launch) (client.ContainerCreateOptions, error) {
	s := l.Service
	mounts, err := e.mounts(ctx, l)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	host := &container.HostConfig{
		NetworkMode: container.NetworkMode(e.bridge.Name), Mounts: mounts, SecurityOpt: []string{"no-new-privileges"},
		LogConfig: container.LogConfig{Type: "json-file", Config: engineLog},
	}
	if s.Go == "" || s.Dockerfile != "" {
		yes := true
		host.Init = &yes // a program that does not expect to be process 1 ignores SIGTERM there
	}
	if s.ReadOnly != nil && *s.ReadOnly {
		host.ReadonlyRootfs, host.Tmpfs = true, map[string]string{"/tmp": "mode=1777"}
	}
	if err := limit(&host.Resources, s.Resources); err != nil {
		return client.ContainerCreateOptions{}, err
	}
	labels := e.owner.labels()
	labels[labelService], labels[labelInstance] = s.Name, l.Instance
	config := &container.Config{Image: l.Image, Env: l.Env, Cmd: l.Argv, User: User(s), Labels: labels, Hostname: l.Instance}
	config.ExposedPorts, host.PortBindings, err = publish(l)
	return client.ContainerCreateOptions{Config: config, HostConfig: host, Name: e.owner.prefix() + "-" + l.Instance + "-" + strings.ToLower(rand.Text()[:6])}, err
}

// limit gives a container the memory and processors that the manifest grants.
func limit(to *container.Resources, r *manifest.Resources) error {
	if r == nil {
		return nil
	}
	to.NanoCPUs = int64(r.CPUs * 1e9)
	if r.Memory == "" {
		return nil
	}
	bytes, err := humanize.ParseBytes(r.Memory)
	if err != nil {
		return fmt.Errorf("resources.memory: %q is no amount of memory: write it as 256MiB", r.Memory)
	}
	to.Memory, to.MemorySwap = int64(bytes), int64(bytes) // no swap beside it
	return nil
}

// port is the number that the program is told.
func port(env []string) string {
	for _, entry := range env {
		if number, ok := strings.CutPrefix(entry, "PORT="); ok {
			return number
		}
	}
	return ""
}

// publish binds the container's ports to loopback: the main one to the address
// of the launch, further ones wherever the engine finds room.
func publish(l runtime.Launch) (network.PortSet, network.PortMap, error) {
	exposed, bound := network.PortSet{}, network.PortMap{}
	bind := func(inside, outside string) error {
		p, err := network.ParsePort(inside)
		if err == nil {
			exposed[p] = struct{}{}
			bound[p] = []network.PortBinding{{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: outside}}
		}
		return err
	}
	more := l.Service.MorePorts()
	for _, name := range slices.Sorted(maps.Keys(more)) {
		if err := bind(strconv.Itoa(more[name]), ""); err != nil {
			return nil, nil, fmt.Errorf("ports.%s: %w", name, err)
		}
	}
	if l.Address == "" {
		return exposed, bound, nil
	}
	_, outside, err := net.SplitHostPort(l.Address)
	if err == nil {
		err = bind(port(l.Env), outside)
	}
	return exposed, bound, err
}

// mounts are the volumes of the manifest and the folder of the service's own
// database, at the same path as outside: DATABASE_URL is one string for both.
func (e *Engine) mounts(ctx context.Context, l runtime.Launch) ([]mount.Mount, error) {
	var mounts []mount.Mount
	if dir := e.dataDir(l.Service); dir != "" {
		if err := own(dir, User(l.Service)); err != nil {
			return nil, fmt.Errorf("the data folder: %w", err)
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: dir, Target: dir})
	}
	for _, text := range l.Service.Volumes {
		v, err := manifest.ParseVolume(text)
		if err != nil {
			return nil, err
		}
		m, err := e.mount(ctx, l, v)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}
