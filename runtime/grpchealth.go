package runtime

import (
	"context"
	"net/http"

	"github.com/ebef7166/mesh/internal/grpchealth"
)

// grpcProbe calls grpc.health.v1.Health/Check.
func grpcProbe(addr, service string) probe {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols, DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		return plainDialError(addr, grpchealth.Check(ctx, client, "http://"+addr, service))
	}
}
