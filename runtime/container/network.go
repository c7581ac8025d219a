package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Bridge is the network that a copy of a workspace has for itself.
type Bridge struct {
	Name    string
	Gateway netip.Addr // the address of this machine on it
	Subnet  netip.Prefix
}

// id tells the copies of a workspace apart in names.
func (o Owner) id() string {
	sum := sha256.Sum256([]byte(o.State))
	return hex.EncodeToString(sum[:4])
}

func (o Owner) prefix() string { return "mesh-" + o.slug() + "-" + o.id() }

// slug is the workspace's name in letters that the engine takes: without one in
// its manifest it is called like its folder.
func (o Owner) slug() string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(o.Name))
}

// makeBridge makes the network, with the subnet of the last run where that is
// free: addresses that people have noted stay right.
func (e *Engine) makeBridge(ctx context.Context, kept string) (*Bridge, error) {
	var ipam *network.IPAM
	if subnet, err := netip.ParsePrefix(kept); err == nil {
		ipam = &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: subnet, Gateway: subnet.Masked().Addr().Next()}}}
	}
	err := e.createNetwork(ctx, ipam)
	if err != nil && ipam != nil {
		err = e.createNetwork(ctx, nil) // somebody else has that subnet now
	}
	if err != nil {
		if strings.Contains(err.Error(), "non-overlapping") || strings.Contains(err.Error(), "fully subnetted") {
			return nil, fmt.Errorf("the engine has no addresses left for one more network: docker network prune removes unused ones (%w)", e.explain(err))
		}
		return nil, fmt.Errorf("make the workspace's network: %w", e.explain(err))
	}
	return e.inspectBridge(ctx)
}

func (e *Engine) createNetwork(ctx context.Context, ipam *network.IPAM) error {
	_, err := e.api.NetworkCreate(ctx, e.owner.prefix(), client.NetworkCreateOptions{Driver: "bridge", IPAM: ipam, Labels: e.owner.labels()})
	return err
}

func (e *Engine) inspectBridge(ctx context.Context) (*Bridge, error) {
	found, err := e.api.NetworkInspect(ctx, e.owner.prefix(), client.NetworkInspectOptions{})
	if err != nil {
		return nil, e.explain(err)
	}
	for _, c := range found.Network.IPAM.Config {
		if c.Subnet.Addr().Is4() && c.Gateway.IsValid() {
			return &Bridge{Name: found.Network.Name, Gateway: c.Gateway, Subnet: c.Subnet}, nil
		}
	}
	return nil, fmt.Errorf("the network %s has no IPv4 subnet with a gateway", found.Network.Name)
}

// restoreBridge makes the network again when somebody removed it (docker network
// prune, say): what listens on its gateway's address is there again with it.
func (e *Engine) restoreBridge(ctx context.Context) error {
	b, err := e.makeBridge(ctx, e.bridge.Subnet.String())
	if err == nil && b.Gateway != e.bridge.Gateway {
		return fmt.Errorf("the network %s was removed and its addresses are taken now: mesh down, then mesh up", b.Name)
	}
	return err
}
