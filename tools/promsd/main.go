// Command promsd runs Prometheus' own discovery by Consul against a registry, for
// the tests of devregistry, and prints the addresses of each service that changes,
// a line each, until it is ended:
//
//	promsd 127.0.0.1:8500
//	web 127.0.0.1:9001 127.0.0.1:9002
//
// It has a module of its own, so that Prometheus' dependencies are not mesh's.
package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/consul"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"golang.org/x/sync/errgroup"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: promsd HOST:PORT")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, server string) error {
	config := consul.DefaultSDConfig
	config.Server, config.RefreshInterval = server, model.Duration(time.Second)
	metrics := config.NewDiscovererMetrics(prometheus.NewRegistry(), nil)
	discoverer, err := config.NewDiscoverer(discovery.DiscovererOptions{
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Metrics: metrics, HTTPClientOptions: nil,
	})
	if err != nil {
		return err
	}
	found := make(chan []*targetgroup.Group)
	var parts errgroup.Group
	parts.Go(func() error {
		defer close(found)
		discoverer.Run(ctx, found)
		return nil
	})
	for groups := range found {
		for _, group := range groups {
			tell(group)
		}
	}
	return parts.Wait()
}

func tell(group *targetgroup.Group) {
	var addresses []string
	for _, target := range group.Targets {
		if target["__meta_consul_health"] == "passing" {
			addresses = append(addresses, string(target[model.AddressLabel]))
		}
	}
	slices.Sort(addresses)
	fmt.Println(group.Source, strings.Join(addresses, " "))
}
